// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {Multicall} from "@openzeppelin/contracts/utils/Multicall.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {INodeRegistry} from "../interfaces/INodeRegistry.sol";
import {CommittedLog} from "./CommittedLog.sol";

/// @title Who runs which server node, and that the node's own key agreed
/// @dev The owner of Ownable2Step is the guardian: it can pause additions for a while and name a successor, nothing else.
contract NodeRegistry is CommittedLog, INodeRegistry, EIP712, Multicall, Ownable2Step {
    struct Provider {
        address admin;
        address pendingAdmin;
        bytes32 metadataHash;
        mapping(address account => bool allowed) operators;
    }

    /// @inheritdoc INodeRegistry
    uint256 public constant MAX_METADATA_LENGTH = 512;
    /// @inheritdoc INodeRegistry
    uint256 public constant MAX_LISTING_PERIOD = 400 days;
    /// @inheritdoc INodeRegistry
    uint256 public constant MAX_PAUSE = 7 days;
    /// @inheritdoc INodeRegistry
    uint256 public constant PAUSE_COOLDOWN = 30 days;

    uint256 private constant _MAX_KIND_NAME_LENGTH = 32;
    uint256 private constant _MAX_RECORD_LENGTH = 300;
    bytes32 private constant _POSSESSION_TYPEHASH = keccak256(
        "NodePossession(bytes32 nodeId,uint256 providerId,uint256 kind,uint256 generation,uint256 deadline)"
    );

    // One slot: every addition reads the first two.
    uint24 private _kindCount;
    uint48 private _pausedUntil;
    uint24 private _providerCount;
    /// @inheritdoc INodeRegistry
    address public successor;

    mapping(uint256 providerId => Provider) private _providers;
    mapping(address node => NodeInfo) private _nodes;
    /// @inheritdoc INodeRegistry
    mapping(uint256 providerId => mapping(uint256 kind => address head)) public headOf;
    /// @inheritdoc INodeRegistry
    mapping(uint256 kind => bytes32 topic) public topicOf;
    /// @inheritdoc INodeRegistry
    mapping(bytes32 topic => uint256 kind) public kindOf;
    /// @inheritdoc INodeRegistry
    mapping(address node => uint64 seq) public enrSeqOf;

    constructor(address guardian) EIP712("Waypost NodeRegistry", "1") Ownable(guardian) {
        _createKind("mailserver");
    }

    modifier whenNotPaused() {
        if (block.timestamp < _pausedUntil) revert AdditionsArePaused(_pausedUntil);
        _;
    }

    modifier onlyAdmin(uint256 providerId) {
        if (msg.sender != _adminOf(providerId)) revert NotAdmin(providerId, msg.sender);
        _;
    }

    modifier onlyOperator(uint256 providerId) {
        _checkOperator(providerId);
        _;
    }

    /* PROVIDERS */

    /// @inheritdoc INodeRegistry
    function createProvider(string calldata metadataURI) external whenNotPaused returns (uint256 providerId) {
        _checkMetadata(metadataURI);

        providerId = ++_providerCount;
        Provider storage provider = _providers[providerId];
        provider.admin = msg.sender;
        provider.metadataHash = keccak256(bytes(metadataURI));

        uint32 version = _nextVersion();
        emit ProviderCreated(providerId, msg.sender, version, metadataURI);
        _commit(
            version,
            abi.encode(ProviderCreated.selector, providerId, msg.sender),
            abi.encode(version, metadataURI)
        );
    }

    /// @inheritdoc INodeRegistry
    function setMetadata(uint256 providerId, string calldata metadataURI) external onlyAdmin(providerId) {
        _checkMetadata(metadataURI);
        Provider storage provider = _providers[providerId];
        bytes32 newHash = keccak256(bytes(metadataURI));
        if (provider.metadataHash == newHash) revert NothingChanged();

        provider.metadataHash = newHash;

        uint32 version = _nextVersion();
        emit ProviderMetadata(providerId, version, metadataURI);
        _commit(version, abi.encode(ProviderMetadata.selector, providerId), abi.encode(version, metadataURI));
    }

    /// @inheritdoc INodeRegistry
    function transferAdmin(uint256 providerId, address newAdmin) external onlyAdmin(providerId) {
        Provider storage provider = _providers[providerId];
        if (newAdmin == provider.pendingAdmin || newAdmin == msg.sender) revert NothingChanged();

        provider.pendingAdmin = newAdmin;

        uint32 version = _nextVersion();
        emit AdminTransferStarted(providerId, msg.sender, newAdmin, version);
        _commit(
            version,
            abi.encode(AdminTransferStarted.selector, providerId, msg.sender, newAdmin),
            abi.encode(version)
        );
    }

    /// @inheritdoc INodeRegistry
    function acceptAdmin(uint256 providerId) external {
        address previousAdmin = _adminOf(providerId);
        Provider storage provider = _providers[providerId];
        if (msg.sender != provider.pendingAdmin) revert NotPendingAdmin(providerId, msg.sender);

        provider.admin = msg.sender;
        provider.pendingAdmin = address(0);

        uint32 version = _nextVersion();
        emit AdminTransferred(providerId, previousAdmin, msg.sender, version);
        _commit(
            version,
            abi.encode(AdminTransferred.selector, providerId, previousAdmin, msg.sender),
            abi.encode(version)
        );
    }

    /// @inheritdoc INodeRegistry
    function setOperator(uint256 providerId, address operator, bool allowed) external onlyAdmin(providerId) {
        Provider storage provider = _providers[providerId];
        if (provider.operators[operator] == allowed) revert NothingChanged();

        provider.operators[operator] = allowed;

        uint32 version = _nextVersion();
        emit OperatorSet(providerId, operator, version, allowed);
        _commit(version, abi.encode(OperatorSet.selector, providerId, operator), abi.encode(version, allowed));
    }

    /* KINDS */

    /// @inheritdoc INodeRegistry
    function createKind(string calldata name) external whenNotPaused returns (uint256 kind) {
        return _createKind(name);
    }

    /* NODES */

    /// @inheritdoc INodeRegistry
    function addNodes(uint256 providerId, uint256 kind, uint256 expiresAt, Possession[] calldata proofs)
        external
        whenNotPaused
        onlyOperator(providerId)
    {
        if (kind == 0 || kind > _kindCount) revert UnknownKind(kind);
        if (proofs.length == 0) revert EmptyBatch();
        _checkExpiry(expiresAt);

        address head = headOf[providerId][kind];
        bytes32[] memory nodeIds = new bytes32[](proofs.length);
        for (uint256 i = 0; i < proofs.length; ++i) {
            nodeIds[i] = proofs[i].nodeId;
            head = _link(providerId, kind, expiresAt, proofs[i], head);
        }
        headOf[providerId][kind] = head;

        uint32 version = _nextVersion();
        emit NodesAdded(providerId, kind, version, expiresAt, nodeIds);
        _commit(
            version, abi.encode(NodesAdded.selector, providerId, kind), abi.encode(version, expiresAt, nodeIds)
        );
    }

    /// @inheritdoc INodeRegistry
    function renewNodes(uint256 providerId, uint256 kind, uint256 expiresAt, address[] calldata nodes)
        external
        onlyOperator(providerId)
    {
        if (nodes.length == 0) revert EmptyBatch();
        _checkExpiry(expiresAt);

        for (uint256 i = 0; i < nodes.length; ++i) {
            address node = nodes[i];
            NodeInfo memory info = _listed(providerId, kind, node);
            if (expiresAt <= info.expiresAt) revert NotExtended(node, info.expiresAt);

            _nodes[node].expiresAt = uint32(expiresAt);
        }

        uint32 version = _nextVersion();
        emit NodesRenewed(providerId, kind, version, expiresAt, nodes);
        _commit(
            version, abi.encode(NodesRenewed.selector, providerId, kind), abi.encode(version, expiresAt, nodes)
        );
    }

    /// @inheritdoc INodeRegistry
    function removeNodes(uint256 providerId, uint256 kind, address[] calldata nodes, address[] calldata predecessors)
        external
        onlyOperator(providerId)
    {
        _unlink(providerId, kind, RemovalReason.Withdrawn, nodes, predecessors);
    }

    /// @inheritdoc INodeRegistry
    function pruneNodes(uint256 providerId, uint256 kind, address[] calldata nodes, address[] calldata predecessors)
        external
    {
        _unlink(providerId, kind, RemovalReason.Expired, nodes, predecessors);
    }

    /// @inheritdoc INodeRegistry
    function publishEnr(address node, uint64 seq, bytes calldata enr) external {
        NodeInfo storage info = _nodes[node];
        if (info.providerId == 0) revert NodeNotListed(node, 0, 0);
        _checkOperator(info.providerId);
        if (seq <= enrSeqOf[node]) revert StaleRecord(node, seq);
        if (enr.length > _MAX_RECORD_LENGTH) revert RecordTooLarge(enr.length);

        enrSeqOf[node] = seq;

        uint32 version = _nextVersion();
        emit NodeEnr(node, version, seq, enr);
        _commit(version, abi.encode(NodeEnr.selector, node), abi.encode(version, seq, enr));
    }

    /* GUARDIAN */

    /// @inheritdoc INodeRegistry
    function pauseAdditions(uint256 until) external onlyOwner {
        bool tooSoon = _pausedUntil != 0 && block.timestamp < _pausedUntil + PAUSE_COOLDOWN;
        if (tooSoon || until <= block.timestamp || until > block.timestamp + MAX_PAUSE) revert InvalidPause(until);

        _setPause(until);
    }

    /// @inheritdoc INodeRegistry
    function resumeAdditions() external onlyOwner {
        if (block.timestamp >= _pausedUntil) revert NothingChanged();

        _setPause(block.timestamp);
    }

    /// @inheritdoc INodeRegistry
    function announceSuccessor(address newSuccessor) external onlyOwner {
        if (successor == newSuccessor) revert NothingChanged();

        successor = newSuccessor;

        uint32 version = _nextVersion();
        emit SuccessorAnnounced(newSuccessor, version);
        _commit(version, abi.encode(SuccessorAnnounced.selector, newSuccessor), abi.encode(version));
    }

    /* VIEWS */

    /// @inheritdoc INodeRegistry
    function commitment() public view override(CommittedLog, INodeRegistry) returns (uint32 version, bytes28 hash) {
        return super.commitment();
    }

    /// @inheritdoc INodeRegistry
    function possessionDigest(bytes32 nodeId, uint256 providerId, uint256 kind, uint256 deadline)
        external
        view
        returns (bytes32)
    {
        uint256 generation = uint256(_nodes[_addressOf(nodeId)].generation) + 1;
        return _possessionDigest(nodeId, providerId, kind, generation, deadline);
    }

    /// @inheritdoc INodeRegistry
    function nodeOf(address node) external view returns (NodeInfo memory) {
        return _nodes[node];
    }

    /// @inheritdoc INodeRegistry
    function isListed(uint256 providerId, uint256 kind, address node) external view returns (bool) {
        NodeInfo storage info = _nodes[node];
        return info.providerId == providerId && info.kind == kind && info.expiresAt > block.timestamp;
    }

    /// @inheritdoc INodeRegistry
    function nodesOf(uint256 providerId, uint256 kind, address cursor, uint256 limit)
        external
        view
        returns (address[] memory nodes, NodeInfo[] memory infos)
    {
        address first = cursor == address(0) ? headOf[providerId][kind] : _listed(providerId, kind, cursor).next;

        uint256 length = 0;
        for (address node = first; node != address(0) && length < limit; node = _nodes[node].next) ++length;

        nodes = new address[](length);
        infos = new NodeInfo[](length);
        address at = first;
        for (uint256 i = 0; i < length; ++i) {
            nodes[i] = at;
            infos[i] = _nodes[at];
            at = infos[i].next;
        }
    }

    /// @inheritdoc INodeRegistry
    function adminOf(uint256 providerId) external view returns (address) {
        return _providers[providerId].admin;
    }

    /// @inheritdoc INodeRegistry
    function pendingAdminOf(uint256 providerId) external view returns (address) {
        return _providers[providerId].pendingAdmin;
    }

    /// @inheritdoc INodeRegistry
    function metadataHashOf(uint256 providerId) external view returns (bytes32) {
        return _providers[providerId].metadataHash;
    }

    /// @inheritdoc INodeRegistry
    function isOperator(uint256 providerId, address account) external view returns (bool) {
        return _providers[providerId].operators[account];
    }

    /// @inheritdoc INodeRegistry
    function providerCount() external view returns (uint256) {
        return _providerCount;
    }

    /// @inheritdoc INodeRegistry
    function kindCount() external view returns (uint256) {
        return _kindCount;
    }

    /// @inheritdoc INodeRegistry
    function pausedUntil() external view returns (uint256) {
        return _pausedUntil;
    }

    /* CHANGES */

    function _createKind(string memory name) private returns (uint256 kind) {
        _checkKindName(bytes(name), name);
        bytes32 topic = keccak256(bytes(name));
        if (kindOf[topic] != 0) revert KindExists(kindOf[topic]);

        kind = ++_kindCount;
        kindOf[topic] = kind;
        topicOf[kind] = topic;

        uint32 version = _nextVersion();
        emit KindCreated(kind, version, name);
        _commit(version, abi.encode(KindCreated.selector, kind), abi.encode(version, name));
    }

    /// @dev Put a node whose key agreed before `next`, which is its list's head.
    function _link(uint256 providerId, uint256 kind, uint256 expiresAt, Possession calldata proof, address next)
        private
        returns (address node)
    {
        node = _addressOf(proof.nodeId);
        NodeInfo memory info = _nodes[node];
        if (info.providerId != 0) revert NodeAlreadyListed(node, info.providerId, info.kind);
        if (info.generation == type(uint16).max) revert GenerationsExhausted(node);
        uint16 generation = info.generation + 1;
        _checkPossession(node, providerId, kind, generation, proof);

        _nodes[node] = NodeInfo({
            next: next,
            providerId: uint24(providerId),
            kind: uint24(kind),
            expiresAt: uint32(expiresAt),
            generation: generation
        });
    }

    function _unlink(
        uint256 providerId,
        uint256 kind,
        RemovalReason reason,
        address[] calldata nodes,
        address[] calldata predecessors
    ) private {
        if (nodes.length == 0) revert EmptyBatch();
        if (nodes.length != predecessors.length) revert LengthMismatch(nodes.length, predecessors.length);

        for (uint256 i = 0; i < nodes.length; ++i) {
            address node = nodes[i];
            NodeInfo memory info = _listed(providerId, kind, node);
            if (reason == RemovalReason.Expired && info.expiresAt > block.timestamp) {
                revert NotExpired(node, info.expiresAt);
            }

            _bypass(providerId, kind, node, info.next, predecessors[i]);
            NodeInfo storage stored = _nodes[node];
            (stored.next, stored.providerId, stored.kind, stored.expiresAt) = (address(0), 0, 0, 0);
        }

        uint32 version = _nextVersion();
        emit NodesRemoved(providerId, kind, version, reason, nodes);
        _commit(version, abi.encode(NodesRemoved.selector, providerId, kind), abi.encode(version, reason, nodes));
    }

    /// @dev Let what points to a node point to the one after it. Lists are disjoint, so it is in the node's own list.
    function _bypass(uint256 providerId, uint256 kind, address node, address next, address predecessor) private {
        if (predecessor == address(0)) {
            if (headOf[providerId][kind] != node) revert WrongPredecessor(node, predecessor);
            headOf[providerId][kind] = next;
        } else {
            if (_nodes[predecessor].next != node) revert WrongPredecessor(node, predecessor);
            _nodes[predecessor].next = next;
        }
    }

    function _setPause(uint256 until) private {
        _pausedUntil = uint48(until);

        uint32 version = _nextVersion();
        emit AdditionsPaused(version, until);
        _commit(version, abi.encode(AdditionsPaused.selector), abi.encode(version, until));
    }

    /* CHECKS */

    function _adminOf(uint256 providerId) private view returns (address admin) {
        admin = _providers[providerId].admin;
        if (admin == address(0)) revert UnknownProvider(providerId);
    }

    function _checkOperator(uint256 providerId) private view {
        if (msg.sender != _adminOf(providerId) && !_providers[providerId].operators[msg.sender]) {
            revert NotOperator(providerId, msg.sender);
        }
    }

    function _checkMetadata(string calldata metadataURI) private pure {
        uint256 length = bytes(metadataURI).length;
        if (length > MAX_METADATA_LENGTH) revert MetadataTooLong(length, MAX_METADATA_LENGTH);
    }

    function _checkKindName(bytes memory characters, string memory name) private pure {
        uint256 length = characters.length;
        if (length == 0 || length > _MAX_KIND_NAME_LENGTH) revert InvalidKindName(name);
        for (uint256 i = 0; i < length; ++i) {
            bytes1 c = characters[i];
            bool plain = (c >= "a" && c <= "z") || (c >= "0" && c <= "9");
            bool inside = i != 0 && i != length - 1;
            if (!plain && !(c == "-" && inside)) revert InvalidKindName(name);
        }
    }

    function _checkExpiry(uint256 expiresAt) private view {
        if (expiresAt <= block.timestamp || expiresAt > block.timestamp + MAX_LISTING_PERIOD) {
            revert InvalidExpiry(expiresAt);
        }
    }

    /// @dev The state of a node that is in the provider's list for the kind.
    function _listed(uint256 providerId, uint256 kind, address node) private view returns (NodeInfo memory info) {
        info = _nodes[node];
        if (info.providerId != providerId || info.kind != kind || providerId == 0) {
            revert NodeNotListed(node, providerId, kind);
        }
    }

    function _checkPossession(
        address node,
        uint256 providerId,
        uint256 kind,
        uint256 generation,
        Possession calldata proof
    ) private view {
        if (block.timestamp > proof.deadline) revert PossessionExpired(proof.nodeId, proof.deadline);
        bytes32 digest = _possessionDigest(proof.nodeId, providerId, kind, generation, proof.deadline);
        // Refuses high s, and returns zero for what is no signature at all; zero is never a node's address then.
        // slither-disable-next-line unused-return
        (address signer,,) = ECDSA.tryRecover(digest, proof.r, proof.vs);
        if (signer == address(0) || signer != node) revert InvalidPossession(proof.nodeId);
    }

    function _possessionDigest(bytes32 nodeId, uint256 providerId, uint256 kind, uint256 generation, uint256 deadline)
        private
        view
        returns (bytes32)
    {
        return _hashTypedDataV4(
            keccak256(abi.encode(_POSSESSION_TYPEHASH, nodeId, providerId, kind, generation, deadline))
        );
    }

    /// @dev The low 20 bytes of a node's id are the Ethereum address of its key.
    function _addressOf(bytes32 nodeId) private pure returns (address) {
        return address(uint160(uint256(nodeId)));
    }
}
