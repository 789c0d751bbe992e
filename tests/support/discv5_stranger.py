"""discv5 packets by hand in tests of the packet layer: looking into what was sent, and strangers who do it wrongly."""

from offchain.discovery import packet as packets
from offchain.discovery.agreement import proof_digest, session_keys
from offchain.discovery.packet import Mask
from offchain.discovery.session import Keys
from tests.support.discovery import key, record


def meet(network, alice, bob):
    """A session both ways, whatever was said first."""
    alice.ask(bob, b"hello")
    network.run(0.1)
    bob.answer(alice, b"hello yourself")
    network.run(0.1)
    assert alice.inbox[-1] == b"hello yourself"
    network.log.clear()


def opened(datagram, peer):
    return packets.decode(datagram, Mask(peer.node_id))


def kinds(network, *peers):
    """The kinds of the packets sent so far."""
    by_address = {peer.address: peer for peer in peers}
    return [type(opened(data, by_address[target])).__name__ for data, _, target in network.log]


def noise_packet(source_id, target, nonce=b"n" * 12, size=44, iv=b"\0" * 16):
    return packets.encode(Mask(target.node_id), packets.ordinary_header(iv, nonce, source_id), bytes(size))


class Stranger:
    """Makes packets by hand: a node that can do the handshake, or do it wrongly."""

    def __init__(self, number, network, address=("127.0.0.1", 33_333)):
        self.key = key(number)
        self.node_id = self.key.public.node_id
        self.record = record(number)
        self.network = network
        self.address = address

    def knock(self, target, nonce=b"n" * 12):
        """Send random bytes; the WHOAREYOU that comes back, if one does."""
        self.to(target, noise_packet(self.node_id, target, nonce))
        answers = target.wire.datagrams_to_send()
        return packets.decode(answers[0][0], Mask(self.node_id)) if answers else None

    def to(self, target, datagram):
        return target.wire.receive_datagram(datagram, self.address, self.network.now)

    def handshake(self, target, challenge, message=b"hello", *, signer=None, enr=None, ephemeral=None, wrong_key=False):
        secret_key = key(777)
        public = ephemeral or secret_key.public.compressed
        secret = secret_key.ecdh_compressed(target.key.public)
        write, read = session_keys(secret, challenge, self.node_id, target.node_id)
        signature = (signer or self.key).sign(proof_digest(challenge, public, target.node_id))
        raw = self.record.raw if enr is None else enr
        header = packets.handshake_header(b"\1" * 16, b"h" * 12, self.node_id, signature, public, raw)
        self.keys = Keys(write, read)
        sealed = Keys(b"\0" * 16 if wrong_key else write, read).seal(b"h" * 12, message, header)
        return packets.encode(Mask(target.node_id), header, sealed)
