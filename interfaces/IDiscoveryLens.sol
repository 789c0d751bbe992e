// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ICurator} from "./ICurator.sol";
import {INodeRegistry} from "./INodeRegistry.sol";

/// @title Who is trusted, joined from the registry and any curators
/// @notice Reads for clients, who choose curators and a threshold: a node is trusted for a kind if it is listed, its
/// listing has not expired, and at least `k` of the curators accept its provider.
/// @dev Keeps nothing and can do nothing. Warning: its answers are as good as the endpoint that gives them; a client that
/// does not trust its endpoint proves the slots instead (see {INodeRegistry-commitment} and {ICurator-verdictSlot}).
///
/// A curator is asked for the kind first and, if it has no verdict on that or it is over, for kind 0. A curator that
/// fails, or whose answer makes no sense, has no verdict: it cannot spoil the answer of the others.
interface IDiscoveryLens {
    /// @notice Why a node is trusted or not.
    enum Reason {
        Trusted,
        /// It is in no list.
        NotListed,
        /// It is listed for another kind.
        OtherKind,
        /// It is listed, but not any more.
        Expired,
        /// Fewer than `k` curators accept its provider.
        NotAccepted
    }

    /// @notice A curator's verdict as it counts now.
    struct Opinion {
        address curator;
        /// None, if there is no verdict or it is over.
        ICurator.Status status;
        /// Whether it is the verdict on the kind, not the one on all kinds.
        bool specific;
        /// Whether the curator could not be asked.
        bool failed;
        uint64 until;
        uint128 weight;
    }

    /// @notice Whether a node is trusted, and why.
    struct Answer {
        bool trusted;
        Reason reason;
        /// Who lists it; zero if nobody.
        uint256 providerId;
        uint256 expiresAt;
        /// How many curators accept the provider.
        uint256 accepting;
        Opinion[] opinions;
    }

    /// @notice A trusted node.
    struct TrustedNode {
        address node;
        uint256 providerId;
        uint256 expiresAt;
    }

    /// @notice Where a page of trusted nodes begins; zeros for the first one.
    struct Cursor {
        uint256 providerId;
        /// The node looked at last in that provider's list; zero for none.
        address node;
    }

    /// @notice What a light client starts from.
    struct Start {
        uint256 chainId;
        uint256 blockNumber;
        uint256 timestamp;
        /// The hash of the block before.
        bytes32 parentHash;
        /// The registry's log commitment.
        uint256 version;
        bytes28 logHash;
        uint256 providerCount;
        uint256 kindCount;
        uint256 pausedUntil;
        /// The discovery topic of the kind.
        bytes32 topic;
        /// The first page of {trustedNodes}.
        TrustedNode[] nodes;
        /// Where the next page begins; zeros if there is none.
        Cursor next;
    }

    /// @notice Thrown when the threshold is zero, or more than there are curators.
    error InvalidThreshold(uint256 k, uint256 curators);
    /// @notice Thrown when a curator is named twice.
    error DuplicateCurator(address curator);
    /// @notice Thrown when a page of nothing is asked for.
    error ZeroLimit();

    /// @notice Whether a node is trusted for a kind, and why.
    /// @param node Its address: the low 20 bytes of its id.
    function trusted(address[] calldata curators, uint256 k, address node, uint256 kind)
        external
        view
        returns (Answer memory);

    /// @notice What each curator has to say on a provider for a kind, and how many accept it.
    function opinionsOn(address[] calldata curators, uint256 providerId, uint256 kind)
        external
        view
        returns (uint256 accepting, Opinion[] memory opinions);

    /// @notice Trusted nodes of all providers, provider by provider.
    /// @dev A page may be short, even empty, with more to follow: go on until the next cursor is zero.
    /// @param limit At most so many providers and nodes together are looked at.
    /// @return nodes The page.
    /// @return next Where the next page begins; zeros if there is none.
    function trustedNodes(address[] calldata curators, uint256 k, uint256 kind, Cursor calldata cursor, uint256 limit)
        external
        view
        returns (TrustedNode[] memory nodes, Cursor memory next);

    /// @notice All that a light client needs at its start, in one call and of one block.
    function start(address[] calldata curators, uint256 k, uint256 kind, uint256 limit)
        external
        view
        returns (Start memory);

    /// @notice The registry that is read.
    function registry() external view returns (INodeRegistry);
}
