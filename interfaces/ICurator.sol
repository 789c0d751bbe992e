// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IERC165} from "@openzeppelin/contracts/utils/introspection/IERC165.sol";

/// @title A curator's verdicts on providers
/// @notice How verdicts come about is the curator's affair; clients read every curator alike.
/// @dev A verdict is one storage slot, so that a client can have it proven without calling the contract:
///
///     bits   0..7    status
///     bits   8..71   until: unix time from which the verdict no longer counts; 0 means it does not end
///     bits  72..199  weight: what stands behind it, in the curator's own unit; 0 if it has none
///
/// Kind 0 stands for all kinds. A client looks at the verdict for the kind first and, if that is None or over, at the
/// one for kind 0.
interface ICurator is IERC165 {
    /// @notice What a curator says of a provider.
    enum Status {
        None,
        Accepted,
        Rejected
    }

    /// @notice Emitted when a verdict changes; the only event of it, on every path.
    event VerdictChanged(
        uint256 indexed providerId, uint256 indexed kind, Status status, uint64 until, uint128 weight
    );

    /// @notice Thrown when a verdict would be set to what it is.
    error VerdictUnchanged(uint256 providerId, uint256 kind);

    /// @notice The verdict on a provider for a kind; kind 0 is the one for all kinds.
    function verdict(uint256 providerId, uint256 kind)
        external
        view
        returns (Status status, uint64 until, uint128 weight);

    /// @notice Where that verdict is stored.
    function verdictSlot(uint256 providerId, uint256 kind) external view returns (bytes32);
}
