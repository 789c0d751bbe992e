"""Trust: facts and verdicts seen through the user's policy.

policy       what the user chose
policy_file  the policy on disk
freshness    how old the proof may be
trusted_set  facts x policy -> who is trusted, and what changed
explain      why, in plain sentences
nodes        TrustedNodes: all of it as one object, following a chain
"""

from offchain.trust.explain import Explanation
from offchain.trust.freshness import Freshness
from offchain.trust.nodes import Resync, StateChange, TrustedNodes
from offchain.trust.policy import OwnNode, Policy
from offchain.trust.trusted_set import TrustChange, TrustedNode, TrustedSet

__all__ = [
    "Explanation",
    "Freshness",
    "OwnNode",
    "Policy",
    "Resync",
    "StateChange",
    "TrustChange",
    "TrustedNode",
    "TrustedNodes",
    "TrustedSet",
]
