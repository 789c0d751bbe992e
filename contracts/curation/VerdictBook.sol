// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ERC165} from "@openzeppelin/contracts/utils/introspection/ERC165.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";

import {ICurator} from "../../interfaces/ICurator.sol";

/// @title Where every curator keeps its verdicts, in the same way
/// @dev Inherit first, so that the verdicts' mapping is slot 0 of every curator.
abstract contract VerdictBook is ICurator, ERC165 {
    /// @dev One slot, laid out as {ICurator} says.
    struct Verdict {
        Status status;
        uint64 until;
        uint128 weight;
    }

    uint256 private constant _VERDICTS_SLOT = 0;

    mapping(uint256 providerId => mapping(uint256 kind => Verdict)) private _verdicts;

    /// @inheritdoc ICurator
    function verdict(uint256 providerId, uint256 kind)
        external
        view
        returns (Status status, uint64 until, uint128 weight)
    {
        Verdict storage stored = _verdicts[providerId][kind];
        return (stored.status, stored.until, stored.weight);
    }

    /// @inheritdoc ICurator
    function verdictSlot(uint256 providerId, uint256 kind) external pure returns (bytes32) {
        bytes32 ofProvider = keccak256(abi.encode(providerId, _VERDICTS_SLOT));
        return keccak256(abi.encode(kind, ofProvider));
    }

    /// @inheritdoc IERC165
    function supportsInterface(bytes4 interfaceId) public view virtual override(ERC165, IERC165) returns (bool) {
        return interfaceId == type(ICurator).interfaceId || super.supportsInterface(interfaceId);
    }

    /// @dev The only place where verdicts change.
    function _setVerdict(uint256 providerId, uint256 kind, Verdict memory next) internal {
        Verdict memory present = _verdicts[providerId][kind];
        if (present.status == next.status && present.until == next.until && present.weight == next.weight) {
            revert VerdictUnchanged(providerId, kind);
        }

        _verdicts[providerId][kind] = next;

        emit VerdictChanged(providerId, kind, next.status, next.until, next.weight);
    }
}
