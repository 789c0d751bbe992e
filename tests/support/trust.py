"""Records of trust, made as TrustedNodes makes them."""

from offchain.trust.explain import Explanation
from offchain.trust.freshness import Freshness
from offchain.trust.trusted_set import TrustChange, TrustedNode
from offchain.types import ProviderId


def trusted_of(kind, node_id):
    """A node that provider 1 lists."""
    return TrustedNode(kind, node_id, ProviderId(1), 1_800_000_000, None)


def change_of(kind, node_id, trusted, reason, block=None):
    """A change of trust."""
    return TrustChange(kind, node_id, trusted, reason, block, 1_700_000_000.0)


def explanation_of(kind, node_id, trusted, reason):
    """Why a node is trusted or not."""
    return Explanation(trusted, reason, (reason,), Freshness.FRESH)
