// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title A rolling hash over everything that a contract's events say
/// @notice One slot: how many events there were (low 32 bits) and a hash over them (high 224 bits). A follower that folds
/// the logs and finds the same value, proven from storage, has missed, altered, repeated and reordered nothing.
/// @dev Inherit first, so that the commitment is slot 0. For every event: take {_nextVersion}, emit the event with the
/// version as the first word of its data, then {_commit} to exactly its topics and data.
abstract contract CommittedLog {
    bytes32 private _commitment;

    /// @notice The log commitment, see {INodeRegistry}.
    function commitment() public view virtual returns (uint32 version, bytes28 hash) {
        return (uint32(uint256(_commitment)), bytes28(_commitment));
    }

    /// @dev The version that the event about to be emitted carries.
    function _nextVersion() internal view returns (uint32) {
        return uint32(uint256(_commitment)) + 1;
    }

    /// @dev Advance over one event.
    /// @param topics `abi.encode` of its selector and indexed arguments.
    /// @param data `abi.encode` of its other arguments, version first.
    function _commit(uint32 version, bytes memory topics, bytes memory data) internal {
        bytes28 hash = bytes28(keccak256(bytes.concat(bytes28(_commitment), topics, data)));

        _commitment = bytes32(hash) | bytes32(uint256(version));
    }
}
