// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {CommittedLog} from "../../contracts/CommittedLog.sol";

/// @title The registry's events in bulk, without what makes them cost gas
/// @notice For bench/sync.py only: no rules, no proofs of possession, but the registry's events and its log commitment.
contract EventSource is CommittedLog {
    event ProviderCreated(uint256 indexed providerId, address indexed admin, uint256 version, string metadataURI);
    event KindCreated(uint256 indexed kind, uint256 version, string name);
    event NodesAdded(
        uint256 indexed providerId, uint256 indexed kind, uint256 version, uint256 expiresAt, bytes32[] nodeIds
    );
    event NodesRemoved(uint256 indexed providerId, uint256 indexed kind, uint256 version, uint8 reason, address[] nodes);

    uint256 private _nodes;

    constructor() {
        uint32 version = _nextVersion();
        emit KindCreated(1, version, "mailserver");
        _commit(version, abi.encode(KindCreated.selector, 1), abi.encode(version, "mailserver"));

        version = _nextVersion();
        emit ProviderCreated(1, msg.sender, version, "");
        _commit(version, abi.encode(ProviderCreated.selector, 1, msg.sender), abi.encode(version, ""));
    }

    /// @notice List `events` times `nodesEach` nodes that nobody has.
    function addNodes(uint256 expiresAt, uint256 events, uint256 nodesEach) external {
        uint256 next = _nodes;
        for (uint256 i = 0; i < events; ++i) {
            bytes32[] memory nodeIds = new bytes32[](nodesEach);
            for (uint256 j = 0; j < nodesEach; ++j) nodeIds[j] = keccak256(abi.encode(next++));

            uint32 version = _nextVersion();
            emit NodesAdded(1, 1, version, expiresAt, nodeIds);
            _commit(version, abi.encode(NodesAdded.selector, 1, 1), abi.encode(version, expiresAt, nodeIds));
        }
        _nodes = next;
    }

    /// @notice Remove a node.
    function removeNode(address node) external {
        address[] memory nodes = new address[](1);
        nodes[0] = node;

        uint32 version = _nextVersion();
        emit NodesRemoved(1, 1, version, 0, nodes);
        _commit(version, abi.encode(NodesRemoved.selector, 1, 1), abi.encode(version, 0, nodes));
    }
}
