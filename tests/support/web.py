"""A client over fakes, as far as the local interface uses it."""

from types import SimpleNamespace

from offchain.client.broadcast import Broadcast
from offchain.types import MAILSERVER
from tests.support.trust import explanation_of, trusted_of


class FakeTrustedNodes:
    """What the interface asks of trust, answered from a FakeTrust."""

    def __init__(self, trust):
        self._trust = trust
        self.state = SimpleNamespace(name="FRESH")

    def nodes(self, kind):
        return [
            trusted_of(kind, node_id) for trusted_kind, node_id in sorted(self._trust.trusted) if trusted_kind == kind
        ]

    def explain(self, kind, node_id):
        trusted = self._trust.is_trusted(kind, node_id)
        return explanation_of(kind, node_id, trusted, self._trust.why(kind, node_id))


class FakeNode:
    """A client, as far as the interface uses it."""

    def __init__(self, setting):
        self.kind = MAILSERVER
        self.pool = setting.pool
        self.mailbox = setting.mailbox
        self.trust = FakeTrustedNodes(setting.trust)
        self.changes = Broadcast()
        self.finder = SimpleNamespace(
            contact=lambda node_id: next((s.contact for n, s in setting.servers.items() if n == node_id), None)
        )

    def status(self):
        return {"schemaVersion": 1, "kind": self.kind}
