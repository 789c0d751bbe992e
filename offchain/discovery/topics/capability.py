"""Which nodes speak topic discovery (ethereum/devp2p, discv5/enr-entries/ng.md).

The entry is an integer, the version: 1. Its key is `ng` in the description of the protocol, and `topic-discovery` in
that of the entry, which was renamed without its text: we write the first and read both.
"""

from __future__ import annotations

from offchain.enr import Enr

KEY = "ng"
VERSION = b"\x01"
_OTHER_KEY = "topic-discovery"


def speaks_topics(enr: Enr) -> bool:
    """Whether the node of a record may be sent topic messages."""
    pairs = enr.pairs
    return pairs.get(KEY) == VERSION or pairs.get(_OTHER_KEY) == VERSION
