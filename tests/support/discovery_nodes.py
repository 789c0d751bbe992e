"""Questions to whole nodes in tests, and nodes that answer as a test says."""

from ipaddress import ip_address

from offchain.discovery import message as messages
from offchain.discovery.message import FindNode, Nodes, Ping, Pong
from offchain.discovery.wire import Remote
from tests.support.discovery import WirePeer, record


def ask(network, start, seconds=5.0):
    """The answer to a question that `start` begins with a callback."""
    outcome = []
    start(lambda answer, now: outcome.append(answer))
    network.run(seconds, lambda: bool(outcome))
    assert len(outcome) == 1
    return outcome[0]


def ping(network, asker, enr):
    return ask(network, lambda done: asker.contacts.ping(enr, network.now, done))


def find_node(network, asker, enr, *distances):
    remote = asker.requests.needed_remote(enr)
    return ask(network, lambda done: asker.requests.find_node(remote, distances, network.now, done))


def talk(network, asker, enr, protocol, request):
    remote = asker.requests.needed_remote(enr)
    return ask(network, lambda done: asker.requests.talk(remote, protocol, request, network.now, done))


def events(machine):
    found = []
    while (event := machine.next_event()) is not None:
        found.append(event.enr)
    return found


class Scripted:
    """A node that does the handshake properly and then answers as a test says."""

    def __init__(self, network, number, reply=lambda message: [], ip="127.0.0.1"):
        self.peer = WirePeer(network, number)
        network.leave(self.peer.address)
        self.address = (ip, 20_000 + number)
        self.network = network
        self.enr = record(number, ip)
        self.peer.wire.record = self.enr
        self.asked = []
        self.reply = reply
        network.join(self, self.address)

    def receive_datagram(self, data, source, now):
        received = self.peer.wire.receive_datagram(data, source, now)
        if received is not None:
            message = messages.decode(received.message)
            self.asked.append(message)
            for answer in self.reply(message):
                raw = answer if isinstance(answer, bytes) else messages.encode(answer)
                self.peer.wire.send_response(received.node_id, source, raw, now)

    def datagrams_to_send(self):
        return self.peer.wire.datagrams_to_send()

    def send(self, target, message):
        remote = Remote(target.id, target.record.public, (str(target.record.ip), target.record.udp))
        self.peer.wire.send_request(remote, messages.encode(message), self.network.now)


def pongs(message, seq=1, seen=("127.0.0.1", 9)):
    return Pong(message.request_id, seq, ip_address(seen[0]), seen[1])


def naming(*raws, total=1, seq=1):
    """Answers PING, and FINDNODE with these records."""

    def reply(message):
        if isinstance(message, Ping):
            return [pongs(message, seq)]
        if isinstance(message, FindNode):
            return [Nodes(message.request_id, total, raws)]
        return []

    return reply
