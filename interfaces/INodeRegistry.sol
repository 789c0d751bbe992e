// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title Who runs which server node, and that the node's own key agreed
/// @notice Facts, not trust. Warning: anyone may create a provider and list nodes whose keys agreed; being listed is not
/// being trusted. Verdicts on providers are given by curators (see {ICurator}); clients choose curators.
/// @dev A node is named by its Discovery v5 id, keccak256 of its 64-byte public key. The low 20 bytes of that id are the
/// Ethereum address of the same key; state is keyed by that address. {NodesAdded} carries full ids, each signed by its
/// key; everything later names the node by address, so that no event says anything that was not checked.
///
/// Every call that changes state emits exactly one event of this interface, and a call that would change nothing reverts.
/// After each event the log commitment advances:
///
///     version' = version + 1
///     hash'    = first 28 bytes of keccak256(hash (28 bytes) || topics of the log || data of the log)
///
/// where `topics` are the event's signature hash and indexed arguments, 32 bytes each. `version'` is the first word of
/// every event's data. Whoever folds all events of this interface, and compares with {commitment} as proven from storage,
/// has missed, altered, repeated and reordered nothing. (The guardian is OpenZeppelin's Ownable2Step; its two events say
/// nothing about nodes, are not of this interface and are not folded.)
///
/// The storage layout is part of the interface, for readers by `eth_getProof`; see `docs/storage-layout.md`. The
/// commitment is slot 0.
interface INodeRegistry {
    /// @notice Why a node left its list.
    enum RemovalReason {
        /// The provider removed it.
        Withdrawn,
        /// Its listing had expired and somebody pruned it.
        Expired
    }

    /// @notice A node's state, one storage slot.
    struct NodeInfo {
        /// The node after this one in its list; zero at the end and for nodes not listed.
        address next;
        /// The provider that lists it; zero if it is not listed.
        uint24 providerId;
        /// What it serves; zero if it is not listed.
        uint24 kind;
        /// Unix time from which the listing no longer counts.
        uint32 expiresAt;
        /// How often it has been listed; survives removal. A possession proof is for the next value.
        uint16 generation;
    }

    /// @notice A node key's agreement to be listed.
    struct Possession {
        /// keccak256 of the node's 64-byte public key.
        bytes32 nodeId;
        /// Unix time after which the proof is refused.
        uint64 deadline;
        /// Signature r of the EIP-712 digest of {possessionDigest} by the node's key.
        bytes32 r;
        /// EIP-2098 compact form: s with the recovery bit on top.
        bytes32 vs;
    }

    /* EVENTS */

    /// @notice Emitted when somebody creates a provider.
    /// @param providerId The new provider; ids start at 1 and are never reused.
    /// @param admin Who controls it.
    /// @param version The registry's version after this event.
    /// @param metadataURI Where the provider describes itself; not checked.
    event ProviderCreated(uint256 indexed providerId, address indexed admin, uint256 version, string metadataURI);

    /// @notice Emitted when a provider's description moves.
    event ProviderMetadata(uint256 indexed providerId, uint256 version, string metadataURI);

    /// @notice Emitted when an admin names a successor, who must accept. Zero withdraws an earlier offer.
    event AdminTransferStarted(
        uint256 indexed providerId, address indexed admin, address indexed pendingAdmin, uint256 version
    );

    /// @notice Emitted when the named successor accepts.
    event AdminTransferred(
        uint256 indexed providerId, address indexed previousAdmin, address indexed newAdmin, uint256 version
    );

    /// @notice Emitted when an admin lets somebody manage the provider's nodes, or no longer.
    event OperatorSet(uint256 indexed providerId, address indexed operator, uint256 version, bool allowed);

    /// @notice Emitted when a kind of server gets its small id.
    /// @param kind The id; ids start at 1 and are never reused.
    /// @param name The name. Its keccak256 is the discovery topic of the kind.
    event KindCreated(uint256 indexed kind, uint256 version, string name);

    /// @notice Emitted when a provider lists nodes, all with the same expiry.
    /// @param expiresAt Unix time from which the listings no longer count.
    /// @param nodeIds The full ids, in the order in which they entered the list.
    event NodesAdded(
        uint256 indexed providerId, uint256 indexed kind, uint256 version, uint256 expiresAt, bytes32[] nodeIds
    );

    /// @notice Emitted when nodes leave their list; the only event of removal, on every path.
    /// @param nodes The nodes' addresses: the low 20 bytes of their ids.
    event NodesRemoved(
        uint256 indexed providerId, uint256 indexed kind, uint256 version, RemovalReason reason, address[] nodes
    );

    /// @notice Emitted when a provider extends listings, all to the same expiry.
    /// @param nodes The nodes' addresses: the low 20 bytes of their ids.
    event NodesRenewed(
        uint256 indexed providerId, uint256 indexed kind, uint256 version, uint256 expiresAt, address[] nodes
    );

    /// @notice Emitted when a listed node's record is published for clients that cannot use the discovery network yet.
    /// @dev The record is not checked here: it is signed, and whoever uses it checks that.
    event NodeEnr(address indexed node, uint256 version, uint64 seq, bytes enr);

    /// @notice Emitted when the guardian stops additions until a time, or ends that early.
    /// @param until Unix time from which additions are possible again; the present if the guardian ended a pause.
    event AdditionsPaused(uint256 version, uint256 until);

    /// @notice Emitted when the guardian names the contract that follows this one. Nothing changes by itself.
    event SuccessorAnnounced(address indexed successor, uint256 version);

    /* ERRORS */

    /// @notice Thrown when there is no such provider.
    error UnknownProvider(uint256 providerId);
    /// @notice Thrown when there is no such kind.
    error UnknownKind(uint256 kind);
    /// @notice Thrown when the caller is not the provider's admin.
    error NotAdmin(uint256 providerId, address caller);
    /// @notice Thrown when the caller is not the one whom the admin named.
    error NotPendingAdmin(uint256 providerId, address caller);
    /// @notice Thrown when the caller is neither the provider's admin nor one of its operators.
    error NotOperator(uint256 providerId, address caller);
    /// @notice Thrown when a call would leave everything as it is.
    error NothingChanged();
    /// @notice Thrown when a batch names no node.
    error EmptyBatch();
    /// @notice Thrown when a list of nodes and a list that belongs to it differ in length.
    error LengthMismatch(uint256 nodes, uint256 others);
    /// @notice Thrown when a kind's name is taken.
    error KindExists(uint256 kind);
    /// @notice Thrown when a name is not 1 to 32 characters a-z, 0-9 and '-', or starts or ends with '-'.
    error InvalidKindName(string name);
    /// @notice Thrown when a metadata URI is longer than allowed.
    error MetadataTooLong(uint256 length, uint256 maximum);
    /// @notice Thrown when an expiry is not in the future, or further ahead than {MAX_LISTING_PERIOD}.
    error InvalidExpiry(uint256 expiresAt);
    /// @notice Thrown when the node is in a list already.
    error NodeAlreadyListed(address node, uint256 providerId, uint256 kind);
    /// @notice Thrown when the node is not in the provider's list for the kind.
    error NodeNotListed(address node, uint256 providerId, uint256 kind);
    /// @notice Thrown when a possession proof is past its deadline.
    error PossessionExpired(bytes32 nodeId, uint256 deadline);
    /// @notice Thrown when a possession proof is not by the node's key, or is for other terms or an earlier generation.
    error InvalidPossession(bytes32 nodeId);
    /// @notice Thrown when a node's generations are used up; its operator must make a new key.
    error GenerationsExhausted(address node);
    /// @notice Thrown when the hint does not precede the node in its list.
    error WrongPredecessor(address node, address hint);
    /// @notice Thrown when a renewal does not extend the listing.
    error NotExtended(address node, uint256 expiresAt);
    /// @notice Thrown when a node that has not expired is pruned.
    error NotExpired(address node, uint256 expiresAt);
    /// @notice Thrown when a record is not newer than the one published.
    error StaleRecord(address node, uint64 seq);
    /// @notice Thrown when a record is larger than EIP-778 allows.
    error RecordTooLarge(uint256 length);
    /// @notice Thrown while additions are paused.
    error AdditionsArePaused(uint256 until);
    /// @notice Thrown when a pause would be too long, or too soon after the last.
    error InvalidPause(uint256 until);

    /* PROVIDERS */

    /// @notice Create a provider; the caller becomes its admin.
    /// @return providerId The new provider's id.
    function createProvider(string calldata metadataURI) external returns (uint256 providerId);

    /// @notice Change where the provider describes itself. Admin only.
    function setMetadata(uint256 providerId, string calldata metadataURI) external;

    /// @notice Offer the provider to a new admin, who must accept; zero withdraws the offer. Admin only.
    function transferAdmin(uint256 providerId, address newAdmin) external;

    /// @notice Become the provider's admin. Only for whom the admin named.
    function acceptAdmin(uint256 providerId) external;

    /// @notice Let somebody manage the provider's nodes (but not its admin), or no longer. Admin only.
    /// @dev Warning: operators stay when the admin changes. A new admin should look through {OperatorSet}.
    function setOperator(uint256 providerId, address operator, bool allowed) external;

    /* KINDS */

    /// @notice Give a kind of server its small id. Anyone may.
    function createKind(string calldata name) external returns (uint256 kind);

    /* NODES */

    /// @notice List nodes whose keys agreed. Admin or operator.
    /// @dev To move a node or rotate a key, remove and add in one {Multicall}.
    /// @param expiresAt Unix time, in the future, at most {MAX_LISTING_PERIOD} ahead; for all of them.
    /// @param proofs One per node.
    function addNodes(uint256 providerId, uint256 kind, uint256 expiresAt, Possession[] calldata proofs) external;

    /// @notice Extend listings, expired ones too if nobody pruned them. Admin or operator.
    function renewNodes(uint256 providerId, uint256 kind, uint256 expiresAt, address[] calldata nodes) external;

    /// @notice Remove nodes. Admin or operator; never paused.
    /// @param nodes In the order in which they are to leave.
    /// @param predecessors For each, the node before it in the list at that moment; zero if it is the head.
    function removeNodes(uint256 providerId, uint256 kind, address[] calldata nodes, address[] calldata predecessors)
        external;

    /// @notice Remove nodes whose listings have expired. Anyone may.
    function pruneNodes(uint256 providerId, uint256 kind, address[] calldata nodes, address[] calldata predecessors)
        external;

    /// @notice Publish a listed node's record. Admin or operator of its provider.
    /// @param seq The record's sequence number, higher than that of the last one published.
    /// @param enr The record's RLP, at most 300 bytes.
    function publishEnr(address node, uint64 seq, bytes calldata enr) external;

    /* GUARDIAN */

    /// @notice Stop additions (of providers, kinds and nodes) until a time. Guardian only.
    /// @dev At most {MAX_PAUSE} ahead, and not again before {PAUSE_COOLDOWN} after the last one ended. Removal, pruning,
    /// renewal and reads go on: a pause can neither keep a node listed nor let its listing run out.
    function pauseAdditions(uint256 until) external;

    /// @notice End a pause early. Guardian only.
    function resumeAdditions() external;

    /// @notice Name the contract that follows this one; zero withdraws. Guardian only.
    function announceSuccessor(address successor) external;

    /* VIEWS */

    /// @notice The log commitment: how many events there were, and the hash over them. One storage slot.
    /// @return version Low 32 bits of the slot.
    /// @return hash High 224 bits of the slot.
    function commitment() external view returns (uint32 version, bytes28 hash);

    /// @notice The digest that a node's key signs to agree to its next listing.
    function possessionDigest(bytes32 nodeId, uint256 providerId, uint256 kind, uint256 deadline)
        external
        view
        returns (bytes32);

    /// @notice A node's state; all zero but the generation if it is not listed.
    function nodeOf(address node) external view returns (NodeInfo memory);

    /// @notice Whether the node is in the provider's list for the kind and has not expired.
    function isListed(uint256 providerId, uint256 kind, address node) external view returns (bool);

    /// @notice The first node of the list of a provider for a kind, which was listed last; zero if the list is empty.
    function headOf(uint256 providerId, uint256 kind) external view returns (address);

    /// @notice A page of a list, latest addition first, expired ones included.
    /// @param cursor The last node of the page before; zero for the first page. A cursor that has left the list reverts
    /// with {NodeNotListed}: read from the start again.
    /// @param limit At most so many nodes.
    /// @return nodes The page.
    /// @return infos Their states, in the same order.
    function nodesOf(uint256 providerId, uint256 kind, address cursor, uint256 limit)
        external
        view
        returns (address[] memory nodes, NodeInfo[] memory infos);

    /// @notice Who controls the provider.
    function adminOf(uint256 providerId) external view returns (address);

    /// @notice keccak256 of the provider's metadata URI; zero if there is no such provider.
    function metadataHashOf(uint256 providerId) external view returns (bytes32);

    /// @notice Who was offered the provider and has not accepted yet; zero if nobody.
    function pendingAdminOf(uint256 providerId) external view returns (address);

    /// @notice Whether somebody may manage the provider's nodes (the admin may too, without being named here).
    function isOperator(uint256 providerId, address account) external view returns (bool);

    /// @notice How many providers there are; their ids are 1 to this.
    function providerCount() external view returns (uint256);

    /// @notice How many kinds there are; their ids are 1 to this.
    function kindCount() external view returns (uint256);

    /// @notice The id of a kind by keccak256 of its name; zero if there is none.
    function kindOf(bytes32 topic) external view returns (uint256);

    /// @notice The discovery topic of a kind: keccak256 of its name; zero if there is none.
    function topicOf(uint256 kind) external view returns (bytes32);

    /// @notice The sequence number of the node's record published last.
    function enrSeqOf(address node) external view returns (uint64);

    /// @notice Until when additions are paused; in the past if they are not.
    function pausedUntil() external view returns (uint256);

    /// @notice The contract that follows this one, if the guardian named one; zero otherwise.
    function successor() external view returns (address);

    /// @notice The longest metadata URI, in bytes.
    function MAX_METADATA_LENGTH() external view returns (uint256);

    /// @notice The longest time a listing may last.
    function MAX_LISTING_PERIOD() external view returns (uint256);

    /// @notice The longest pause.
    function MAX_PAUSE() external view returns (uint256);

    /// @notice The shortest time between the end of a pause and the next.
    function PAUSE_COOLDOWN() external view returns (uint256);
}
