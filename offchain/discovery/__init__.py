"""Discovery v5: how nodes find each other.

codec      packet (masking, headers), message (what is inside), agreement (key agreement, proof of identity)
machines   wire (sessions, handshakes), table, lookup, endpoint (our own address), node (all of these as one)
shell      service
"""

from offchain.discovery.calls import NoAnswer
from offchain.discovery.service import Discovery

__all__ = ["Discovery", "NoAnswer"]
