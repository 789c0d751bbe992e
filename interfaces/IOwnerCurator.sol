// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ICurator} from "./ICurator.sol";

/// @title Verdicts by an owner
interface IOwnerCurator is ICurator {
    /// @notice A verdict to be set.
    struct Entry {
        uint256 providerId;
        /// 0 for all kinds.
        uint256 kind;
        Status status;
        /// Unix time from which it no longer counts; 0 if it does not end.
        uint64 until;
    }

    /// @notice Thrown when the caller is neither the owner nor one whom the owner lets give verdicts.
    error NotCurator(address caller);
    /// @notice Thrown when a verdict ends in the past, or one of None has an end.
    error InvalidUntil(uint256 providerId, uint256 kind, uint64 until);
    /// @notice Thrown when a verdict names provider 0.
    error InvalidProvider();
    /// @notice Thrown when somebody's leave to give verdicts is as it was.
    error CuratorUnchanged(address account);
    /// @notice Thrown when a batch is empty.
    error EmptyBatch();

    /// @notice Emitted when the owner lets somebody give verdicts, or no longer.
    event CuratorSet(address indexed account, bool allowed);

    /// @notice Set one verdict. Owner, or one whom the owner lets.
    function setVerdict(uint256 providerId, uint256 kind, Status status, uint64 until) external;

    /// @notice Set several; all or none.
    function setVerdicts(Entry[] calldata entries) external;

    /// @notice Let somebody give verdicts, or no longer. Owner only.
    function setCurator(address account, bool allowed) external;

    /// @notice Whether somebody besides the owner may give verdicts.
    function isCurator(address account) external view returns (bool);
}
