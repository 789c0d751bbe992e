// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";

import {IOwnerCurator} from "../../interfaces/IOwnerCurator.sol";
import {VerdictBook} from "./VerdictBook.sol";

/// @title An allow-list of providers, kept by an owner and by those whom the owner lets
contract OwnerCurator is VerdictBook, IOwnerCurator, Ownable2Step {
    /// @inheritdoc IOwnerCurator
    mapping(address account => bool allowed) public isCurator;

    constructor(address owner) Ownable(owner) {}

    modifier onlyCurator() {
        if (msg.sender != owner() && !isCurator[msg.sender]) revert NotCurator(msg.sender);
        _;
    }

    /* VERDICTS */

    /// @inheritdoc IOwnerCurator
    function setVerdict(uint256 providerId, uint256 kind, Status status, uint64 until) external onlyCurator {
        _judge(providerId, kind, status, until);
    }

    /// @inheritdoc IOwnerCurator
    function setVerdicts(Entry[] calldata entries) external onlyCurator {
        if (entries.length == 0) revert EmptyBatch();

        for (uint256 i = 0; i < entries.length; ++i) {
            Entry calldata entry = entries[i];
            _judge(entry.providerId, entry.kind, entry.status, entry.until);
        }
    }

    /* ROLES */

    /// @inheritdoc IOwnerCurator
    function setCurator(address account, bool allowed) external onlyOwner {
        if (isCurator[account] == allowed) revert CuratorUnchanged(account);

        isCurator[account] = allowed;

        emit CuratorSet(account, allowed);
    }

    /* VIEWS */

    /// @inheritdoc IERC165
    function supportsInterface(bytes4 interfaceId) public view override(VerdictBook, IERC165) returns (bool) {
        return interfaceId == type(IOwnerCurator).interfaceId || super.supportsInterface(interfaceId);
    }

    function _judge(uint256 providerId, uint256 kind, Status status, uint64 until) private {
        if (providerId == 0) revert InvalidProvider();
        if (until != 0 && (until <= block.timestamp || status == Status.None)) {
            revert InvalidUntil(providerId, kind, until);
        }

        _setVerdict(providerId, kind, Verdict({status: status, until: until, weight: 0}));
    }
}
