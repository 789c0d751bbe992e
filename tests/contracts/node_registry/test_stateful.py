"""The registry against a Python model of it, refused calls included.

The model is lists in a dict. After every step the chain is walked and compared; at the end of every run the logs alone
rebuild the same state, the commitment is recomputed from them, and raw storage slots say what the getters say.
Named after the invariants: SetEq, OneHome, LogReplay, VersionStep, OneRemoved, Possession, NoReplay, ExpiryBound,
AuthLocality, PauseSafe, SlotABI.
"""

from __future__ import annotations

import inspect
import itertools
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from brownie import web3

from scripts.lists import predecessors
from tests.support.depth import play_examples
from tests.support.registry import DAY, ZERO_ADDRESS, Node, Replayed, possession
from tests.support.storage import mapping_slot, slot_number
from tests.support.wire import Reverted, Wire, plain

NODES = [Node.number(index) for index in range(8)]
PROVIDERS, KINDS = (1, 2), (1, 2)
SEEN: Counter = Counter()
"""How often each function went through, and was refused for which reason."""

REFUSALS = {
    "addNodes": {"AdditionsArePaused", "NotOperator", "InvalidExpiry", "NodeAlreadyListed", "PossessionExpired",
                 "InvalidPossession"},
    "renewNodes": {"NotOperator", "InvalidExpiry", "NodeNotListed", "NotExtended"},
    "removeNodes": {"NotOperator", "NodeNotListed", "WrongPredecessor"},
    "pruneNodes": {"NodeNotListed", "NotExpired"},
    "setOperator": {"NotAdmin", "NothingChanged"},
    "transferAdmin": {"NotAdmin", "NothingChanged"},
    "acceptAdmin": {"NotPendingAdmin"},
    "pauseAdditions": {"InvalidPause"},
}  # fmt: skip
"""What a run that is long enough must have come across."""


@dataclass
class Listing:
    provider: int
    kind: int
    expires_at: int


@dataclass
class Model:
    """What the registry should hold."""

    admins: dict[int, object]
    operators: set[tuple[int, object]] = field(default_factory=set)
    pending: dict[int, object] = field(default_factory=dict)
    lists: dict[tuple[int, int], list[str]] = field(default_factory=dict)
    listings: dict[str, Listing] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)
    events: int = 0
    removals: int = 0
    paused_until: int = 0

    def may_manage(self, provider: int, caller) -> bool:
        return caller == self.admins[provider] or (provider, caller) in self.operators


class RegistryMachine:
    """Steps that providers, operators, strangers and the guardian take, rightly and wrongly."""

    def __init__(self, registry, people, guardian, seed: int) -> None:
        self.registry, self.people, self.guardian = registry, people, guardian
        self.wire = Wire(web3.provider.endpoint_uri, registry.abi)
        self.draw = random.Random(seed)
        self.used = []
        self.model = Model(admins={number: self.people[number - 1] for number in PROVIDERS})
        self.model.events = 1 + 1 + len(PROVIDERS)

    def run(self, steps: int) -> None:
        """So many steps, everything checked after each; then the logs and the slots."""
        self.wire.send(self.people[3], self.registry.createKind, "pushserver")
        for number in PROVIDERS:
            self.wire.send(self.people[number - 1], self.registry.createProvider, f"https://{number}.example")
        self.add(who=15, provider=1, kind=1, node=0, second=1, days=300)
        self.add(who=15, provider=1, kind=1, node=2, second=3, days=200)
        self.add(who=15, provider=2, kind=2, node=4, second=4, days=100)
        for _ in range(steps):
            self._step()
            self.lists_and_version_are_the_models()
            self.every_node_has_one_home_at_most()
        self.logs_and_slots_say_the_same()

    def _step(self) -> None:
        """One step, drawn by weight."""
        (step,) = self.draw.choices(list(self.WEIGHTS), self.WEIGHTS.values())
        function = getattr(self, step)
        drawn = {name: self.draw.randint(*self.RANGES[name]) for name in inspect.signature(function).parameters}
        function(**drawn)

    WEIGHTS = {
        "add": 4,
        "add_with_a_bad_proof": 3,
        "renew": 3,
        "remove": 6,
        "prune": 3,
        "set_operator": 2,
        "transfer": 2,
        "accept": 2,
        "pause": 1,
        "let_time_pass": 3,
    }
    RANGES = {
        "who": (0, 15),
        "provider": PROVIDERS,
        "kind": KINDS,
        "node": (0, len(NODES) - 1),
        "second": (0, len(NODES) - 1),
        "days": (0, 440),
        "flag": (0, 1),
        "luck": (0, 9),
    }

    # The steps. Each works out what should happen, then sees whether it does.

    def add(self, who, provider, kind, node, second, days):
        caller, now = self._caller(who, provider), self.wire.now()
        chosen = list(dict.fromkeys((self._free(node, second), second)))
        expiry = now + days * DAY
        proofs = [self._possession(NODES[index], provider, kind, now + DAY) for index in chosen]
        error = self._refusal_to_add(caller, provider, expiry, [NODES[index].address for index in chosen])
        if self._sent(error, caller, self.registry.addNodes, provider, kind, expiry, proofs):
            self.used.extend((provider, kind, proof) for proof in proofs)
            for index in chosen:
                name = NODES[index].address
                self.model.lists.setdefault((provider, kind), []).insert(0, name)
                self.model.listings[name] = Listing(provider, kind, expiry)
                self.model.generations[name] = self.model.generations.get(name, 0) + 1

    def add_with_a_bad_proof(self, provider, kind, node, second, luck):
        """Replayed, of another generation, or signed by somebody else's key."""
        now, item = self.wire.now(), NODES[node]
        expiry = now + DAY
        if luck < 4 and self.used:
            provider, kind, proof = self.used[node % len(self.used)]
            item = next(known for known in NODES if known.id == proof[0])
        elif luck < 7:
            generation = max(0, self.model.generations.get(item.address, 0) + (luck - 5) * 2)
            proof = self._possession(item, provider, kind, expiry, generation=generation)
        else:
            signer = NODES[second if second != node else second - 1]
            proof = self._possession(item, provider, kind, expiry, signer=signer)
        caller = self.model.admins[provider]
        error = self._refusal_to_add(caller, provider, expiry, [item.address], deadline=proof[1])
        error = error or ("InvalidPossession", item.id)
        assert not self._sent(error, caller, self.registry.addNodes, provider, kind, expiry, [proof])

    def renew(self, who, provider, kind, node, days, luck):
        provider, kind, name = self._aim(provider, kind, node, luck)
        caller = self._caller(who, provider)
        expiry = self.wire.now() + days * DAY
        listing = self.model.listings.get(name)
        error = None
        if not self.model.may_manage(provider, caller):
            error = ("NotOperator", provider, caller)
        elif not 1 <= days <= 400:
            error = ("InvalidExpiry", expiry)
        elif listing is None or (listing.provider, listing.kind) != (provider, kind):
            error = ("NodeNotListed", name, provider, kind)
        elif expiry <= listing.expires_at:
            error = ("NotExtended", name, listing.expires_at)
        if self._sent(error, caller, self.registry.renewNodes, provider, kind, expiry, [name]):
            listing.expires_at = expiry

    def remove(self, who, provider, kind, node, luck):
        """With the right hint, or, with no luck at all, with the node itself as hint."""
        provider, kind, name = self._aim(provider, kind, node, luck)
        caller = self._caller(who, provider)
        error = None if self.model.may_manage(provider, caller) else ("NotOperator", provider, caller)
        self._take_off(self.registry.removeNodes, caller, provider, kind, name, error, wrong_hint=luck == 9)

    def prune(self, who, provider, kind, node, luck):
        provider, kind, name = self._aim(provider, kind, node, luck)
        self._take_off(self.registry.pruneNodes, self.people[who % 4], provider, kind, name, None, prune=True)

    def set_operator(self, who, provider, second, flag):
        caller, operator = self._caller(who, provider), self.people[second % 4]
        error = None
        if caller != self.model.admins[provider]:
            error = ("NotAdmin", provider, caller)
        elif ((provider, operator) in self.model.operators) == flag:
            error = ("NothingChanged",)
        if self._sent(error, caller, self.registry.setOperator, provider, operator, flag):
            self.model.operators ^= {(provider, operator)}

    def transfer(self, who, provider, second):
        caller, successor = self._caller(who, provider), self.people[second % 4]
        error = None
        if caller != self.model.admins[provider]:
            error = ("NotAdmin", provider, caller)
        elif successor in (caller, self.model.pending.get(provider)):
            error = ("NothingChanged",)
        if self._sent(error, caller, self.registry.transferAdmin, provider, successor):
            self.model.pending[provider] = successor

    def accept(self, who, provider):
        caller = self.model.pending.get(provider) if who > 3 else None
        caller = caller or self.people[who % 4]
        error = None if self.model.pending.get(provider) == caller else ("NotPendingAdmin", provider, caller)
        if self._sent(error, caller, self.registry.acceptAdmin, provider):
            self.model.admins[provider] = self.model.pending.pop(provider)

    def pause(self, days, luck):
        days = 1 if luck < 5 else days + 8
        now = self.wire.now()
        until = now + days * DAY
        soon = self.model.paused_until and now < self.model.paused_until + 30 * DAY
        error = ("InvalidPause", until) if soon or not 1 <= days <= 7 else None
        if self._sent(error, self.guardian, self.registry.pauseAdditions, until):
            self.model.paused_until = until

    def let_time_pass(self, days, luck):
        """Mostly little; sometimes enough for listings to expire."""
        self.wire.pass_time((days if luck == 0 else days // 50) * DAY + 1)

    # What must hold after every step.

    def lists_and_version_are_the_models(self):
        """Every list in its order, with expiry and generation of each node; one version per change."""
        places = list(itertools.product(PROVIDERS, KINDS))
        pages = [(self.registry.nodesOf, *place, ZERO_ADDRESS, 100) for place in places]
        *walks, commitment = self.wire.read(*pages, (self.registry.commitment,))
        assert commitment[0] == self.model.events
        for place, (walked, infos) in zip(places, walks, strict=True):
            assert list(walked) == self.model.lists.get(place, [])
            for name, info in zip(walked, infos, strict=True):
                assert info[3] == self.model.listings[name].expires_at
                assert info[4] == self.model.generations[name]

    def every_node_has_one_home_at_most(self):
        everywhere = [name for listed in self.model.lists.values() for name in listed]
        assert len(everywhere) == len(set(everywhere))

    def logs_and_slots_say_the_same(self):
        """Logs alone give the same state; slots say what getters say."""
        state = Replayed.of(log for log, _ in self.wire.logs([self.registry.address]))
        ((version, digest),) = self.wire.read((self.registry.commitment,))
        assert state.commitment == (version, bytes(digest))
        assert {key: names for key, names in state.lists.items() if names} == {
            key: names for key, names in self.model.lists.items() if names
        }
        assert state.admins == {number: str(admin) for number, admin in self.model.admins.items()}
        assert state.operators == {(number, str(operator)) for number, operator in self.model.operators}
        assert state.expiry == {name: listing.expires_at for name, listing in self.model.listings.items()}
        assert state.generations == self.model.generations
        getters = self.wire.read(*((self.registry.nodeOf, item.address) for item in NODES))
        for item, (following, provider, kind, expires_at, generation) in zip(NODES, getters, strict=True):
            slot = mapping_slot(slot_number("NodeRegistry", "_nodes"), item.address)
            if item.address not in self.model.listings:
                assert (int(following, 16), provider, kind, expires_at) == (0, 0, 0, 0)
            packed = int(following, 16) | provider << 160 | kind << 184 | expires_at << 208 | generation << 240
            assert self.wire.word(self.registry.address, slot) == packed

    # Helpers.

    def _caller(self, who, provider):
        """Three times in four the provider's admin."""
        return self.model.admins[provider] if who > 3 else self.people[who]

    def _free(self, node, second):
        """The node that was drawn, or the next one that is in no list and not the second."""
        order = [*range(node, len(NODES)), *range(node)]
        free = (at for at in order if NODES[at].address not in self.model.listings and at != second)
        return next(free, node)

    def _aim(self, provider, kind, node, luck):
        """Mostly a node that is listed, and where; else whatever was drawn."""
        listed = sorted(self.model.listings)
        if not listed or luck < 2:
            return provider, kind, NODES[node].address
        name = listed[node % len(listed)]
        return self.model.listings[name].provider, self.model.listings[name].kind, name

    def _refusal_to_add(self, caller, provider, expiry, names, deadline=None):
        """Why adding is refused before a signature is looked at; None if it is not."""
        now = self.wire.now()
        if now < self.model.paused_until:
            return "AdditionsArePaused", self.model.paused_until
        if not self.model.may_manage(provider, caller):
            return "NotOperator", provider, caller
        if not now < expiry <= now + 400 * DAY:
            return "InvalidExpiry", expiry
        for name in names:
            if listing := self.model.listings.get(name):
                return "NodeAlreadyListed", name, listing.provider, listing.kind
        if deadline is not None and now > deadline:
            node_id = next(item.id for item in NODES if item.address == names[0])
            return "PossessionExpired", node_id, deadline
        return None

    def _take_off(self, function, caller, provider, kind, name, error, *, prune=False, wrong_hint=False):
        order = self.model.lists.get((provider, kind), [])
        listing = self.model.listings.get(name)
        hint = ZERO_ADDRESS
        if error is None and name not in order:
            error = ("NodeNotListed", name, provider, kind)
        elif error is None and prune and listing.expires_at > self.wire.now():
            error = ("NotExpired", name, listing.expires_at)
        elif error is None and wrong_hint:
            hint, error = name, ("WrongPredecessor", name, name)
        elif error is None:
            (hint,) = predecessors(order, [name])
        if self._sent(error, caller, function, provider, kind, [name], [hint]):
            self.model.lists[provider, kind].remove(name)
            del self.model.listings[name]
            self.model.removals += 1

    def _possession(self, item, provider, kind, deadline, *, generation=None, signer=None):
        """A proof for the node's next listing, as the model counts them, or another generation, or by another key."""
        if generation is None:
            generation = self.model.generations.get(item.address, 0) + 1
        return possession(self.registry, item, provider, deadline, kind=kind, generation=generation, signer=signer)

    def _sent(self, error, caller, function, *arguments) -> bool:
        """Send it; whether it went through, which must be just when there is no error to expect."""
        if error is not None:
            name, *subjects = error
            with pytest.raises(Reverted) as refused:
                self.wire.send(caller, function, *arguments)
            assert (refused.value.name, refused.value.subjects) == (name, tuple(map(plain, subjects)))
            SEEN[function.abi["name"], name] += 1
            return False
        assert len(self.wire.send(caller, function, *arguments)) == 1
        SEEN[function.abi["name"], "done"] += 1
        self.model.events += 1
        return True


def test_the_registry_does_what_the_model_does(registry, admin, rival, operator, stranger, guardian):
    people = (admin, rival, operator, stranger)
    SEEN.clear()

    play_examples(
        lambda seed, steps: RegistryMachine(registry, people, guardian, seed).run(steps), examples=20, steps=50
    )

    if sum(SEEN.values()) >= 3_000:
        expected = {(name, how) for name, reasons in REFUSALS.items() for how in (*reasons, "done")}
        assert expected <= SEEN.keys(), f"never seen: {expected - SEEN.keys()}"
