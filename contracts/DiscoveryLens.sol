// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ICurator} from "../interfaces/ICurator.sol";
import {IDiscoveryLens} from "../interfaces/IDiscoveryLens.sol";
import {INodeRegistry} from "../interfaces/INodeRegistry.sol";

/// @title Who is trusted, joined from the registry and any curators
contract DiscoveryLens is IDiscoveryLens {
    /// @dev Enough for any curator; one that needs more is as good as one that fails.
    uint256 private constant CURATOR_GAS = 100_000;

    /// @inheritdoc IDiscoveryLens
    INodeRegistry public immutable registry;

    constructor(INodeRegistry registry_) {
        registry = registry_;
    }

    /// @inheritdoc IDiscoveryLens
    function trusted(address[] calldata curators, uint256 k, address node, uint256 kind)
        external
        view
        returns (Answer memory answer)
    {
        _checkPolicy(curators, k);
        INodeRegistry.NodeInfo memory info = registry.nodeOf(node);
        answer.providerId = info.providerId;
        answer.expiresAt = info.expiresAt;
        (answer.accepting, answer.opinions) = _opinionsOn(curators, info.providerId, kind);

        if (info.providerId == 0) answer.reason = Reason.NotListed;
        else if (info.kind != kind) answer.reason = Reason.OtherKind;
        else if (block.timestamp >= info.expiresAt) answer.reason = Reason.Expired;
        else if (answer.accepting < k) answer.reason = Reason.NotAccepted;
        else answer.trusted = true;
    }

    /// @inheritdoc IDiscoveryLens
    function opinionsOn(address[] calldata curators, uint256 providerId, uint256 kind)
        external
        view
        returns (uint256 accepting, Opinion[] memory opinions)
    {
        return _opinionsOn(curators, providerId, kind);
    }

    /// @inheritdoc IDiscoveryLens
    function trustedNodes(address[] calldata curators, uint256 k, uint256 kind, Cursor calldata cursor, uint256 limit)
        external
        view
        returns (TrustedNode[] memory nodes, Cursor memory next)
    {
        return _trustedNodes(curators, k, kind, cursor, limit);
    }

    /// @inheritdoc IDiscoveryLens
    function start(address[] calldata curators, uint256 k, uint256 kind, uint256 limit)
        external
        view
        returns (Start memory the)
    {
        the.chainId = block.chainid;
        the.blockNumber = block.number;
        the.timestamp = block.timestamp;
        the.parentHash = blockhash(block.number - 1);
        (the.version, the.logHash) = registry.commitment();
        the.providerCount = registry.providerCount();
        the.kindCount = registry.kindCount();
        the.pausedUntil = registry.pausedUntil();
        the.topic = registry.topicOf(kind);
        (the.nodes, the.next) = _trustedNodes(curators, k, kind, Cursor(0, address(0)), limit);
    }

    /* INTERNAL */

    function _trustedNodes(address[] calldata curators, uint256 k, uint256 kind, Cursor memory at, uint256 limit)
        private
        view
        returns (TrustedNode[] memory nodes, Cursor memory)
    {
        _checkPolicy(curators, k);
        if (limit == 0) revert ZeroLimit();
        nodes = new TrustedNode[](limit);
        uint256 found = 0;
        uint256 providers = registry.providerCount();
        if (at.providerId == 0) at.providerId = 1;

        // Every round looks at a node or goes on to the next provider, and takes from the limit for it.
        while (limit > 0 && at.providerId <= providers) {
            (uint256 accepting,) = _opinionsOn(curators, at.providerId, kind);
            if (accepting >= k) {
                uint256 seen;
                (seen, found) = _page(kind, at, limit, nodes, found);
                limit -= seen;
                if (limit == 0) break; // there may be more behind a full page
            }
            --limit;
            (at.providerId, at.node) = (at.providerId + 1, address(0));
        }
        return (_shortened(nodes, found), at.providerId <= providers ? at : Cursor(0, address(0)));
    }

    /// @dev Adds the unexpired ones of the next nodes to `nodes`, and moves the cursor behind them.
    function _page(uint256 kind, Cursor memory at, uint256 limit, TrustedNode[] memory nodes, uint256 found)
        private
        view
        returns (uint256 seen, uint256)
    {
        (address[] memory page, INodeRegistry.NodeInfo[] memory infos) =
            registry.nodesOf(at.providerId, kind, at.node, limit);
        for (uint256 i = 0; i < page.length; ++i) {
            if (block.timestamp >= infos[i].expiresAt) continue;
            nodes[found] = TrustedNode(page[i], at.providerId, infos[i].expiresAt);
            ++found;
        }
        if (page.length > 0) at.node = page[page.length - 1];
        return (page.length, found);
    }

    function _shortened(TrustedNode[] memory nodes, uint256 length) private pure returns (TrustedNode[] memory kept) {
        kept = new TrustedNode[](length);
        for (uint256 i = 0; i < length; ++i) {
            kept[i] = nodes[i];
        }
    }

    function _opinionsOn(address[] calldata curators, uint256 providerId, uint256 kind)
        private
        view
        returns (uint256 accepting, Opinion[] memory opinions)
    {
        opinions = new Opinion[](curators.length);
        for (uint256 i = 0; i < curators.length; ++i) {
            opinions[i] = _opinion(curators[i], providerId, kind);
            if (opinions[i].status == ICurator.Status.Accepted) ++accepting;
        }
    }

    function _opinion(address curator, uint256 providerId, uint256 kind) private view returns (Opinion memory opinion) {
        opinion = _ask(curator, providerId, kind);
        opinion.specific = opinion.status != ICurator.Status.None && kind != 0;
        if (kind != 0 && opinion.status == ICurator.Status.None && !opinion.failed) {
            opinion = _ask(curator, providerId, 0);
        }
    }

    /// @dev By hand, for a try-catch does not catch an answer that cannot be decoded.
    function _ask(address curator, uint256 providerId, uint256 kind) private view returns (Opinion memory opinion) {
        opinion.curator = curator;
        (bool went, bytes memory data) =
            curator.staticcall{gas: CURATOR_GAS}(abi.encodeCall(ICurator.verdict, (providerId, kind)));
        if (!went || data.length != 96) {
            opinion.failed = true;
            return opinion;
        }
        (uint256 status, uint256 until, uint256 weight) = abi.decode(data, (uint256, uint256, uint256));
        if (
            status > uint256(ICurator.Status.Rejected) || until > type(uint64).max || weight > type(uint128).max
        ) {
            opinion.failed = true;
            return opinion;
        }
        if (until != 0 && until <= block.timestamp) return opinion;
        opinion.status = ICurator.Status(status);
        opinion.until = uint64(until);
        opinion.weight = uint128(weight);
    }

    function _checkPolicy(address[] calldata curators, uint256 k) private pure {
        if (k == 0 || k > curators.length) revert InvalidThreshold(k, curators.length);
        for (uint256 i = 1; i < curators.length; ++i) {
            for (uint256 j = 0; j < i; ++j) {
                if (curators[i] == curators[j]) revert DuplicateCurator(curators[i]);
            }
        }
    }
}
