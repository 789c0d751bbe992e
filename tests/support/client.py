"""Fakes for the client's tests: a trust that is a set, and contacts made from numbers."""

from offchain.contact import Contact, Source
from offchain.keys import PrivateKey
from offchain.types import MAILSERVER, parse_ip


class FakeTrust:
    """A TrustView that is a set of (kind, node id), and counts how often it is asked."""

    def __init__(self, *node_ids, kind=MAILSERVER):
        self.trusted = {(kind, node_id) for node_id in node_ids}
        self.asked = 0

    def is_trusted(self, kind, node_id):
        self.asked += 1
        return (kind, node_id) in self.trusted

    def why(self, kind, node_id):
        return "provider 1 lists it" if (kind, node_id) in self.trusted else f"nobody lists it as a {kind}"

    def add(self, node_id, kind=MAILSERVER):
        self.trusted.add((kind, node_id))

    def remove(self, node_id, kind=MAILSERVER):
        self.trusted.discard((kind, node_id))


def key(number):
    """The key of node `number`, from 1."""
    return PrivateKey(number.to_bytes(32, "big"))


def contact(number, *, seq=1, source=Source.DISCOVERED, ip=None, tcp=30303):
    """Node `number`, listening at an address of its own."""
    public = key(number).public
    return Contact(
        public.node_id, public, parse_ip(ip or f"10.0.{number // 256}.{number % 256}"), tcp, 9000, source, seq
    )
