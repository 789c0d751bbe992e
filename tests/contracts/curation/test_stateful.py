"""The token-curated registry against a Python model of it (tests/support/curation_model.py), refused calls included.

After every step the contracts' views are compared with the model's. When a run is over, the logs alone rebuild the same
state, raw storage says what the getters say, and whatever is still open is brought to its end by calls anyone may make.
Named after the invariants: LogReplay, OneRemoved, AuthLocality, SlotABI, Solvency, LockSound, Tally, ClaimOnce,
SnapshotStable, NoVoteCopy, Liveness. docs/invariants.md says where each of the twenty is.

Each example is a seed and as many steps as are asked for: see tests/support/depth.py.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest
from brownie import TestToken, web3

from offchain.hashing import keccak256
from scripts.deploy_token_curator import deploy
from scripts.terms import DAY, HOUR, TOKEN, ListingTerms, Terms, VotingTerms
from tests.support.curation import URI, Play, endow, salt_of
from tests.support.curation_model import APPLIED, LISTED, NOT_LISTED, OPEN, UNIT, Model, Refused
from tests.support.curation_replay import Decoder, Replayed
from tests.support.depth import play_examples
from tests.support.storage import mapping_slot
from tests.support.wire import Reverted, Wire

FIRST = Terms(
    ListingTerms(100 * TOKEN + 7, HOUR, HOUR, 2 * HOUR, DAY),
    VotingTerms(50 * TOKEN, 5_000, 4_001, 203, 1_000, HOUR, HOUR, HOUR, DAY),
)
OTHERS = (
    FIRST.changed(min_deposit=150 * TOKEN + 3, slash=0, threshold=6_000, cooldown=0, voter_share=9_000),
    FIRST.changed(min_deposit=80 * TOKEN, slash=2_500, quorum=200 * TOKEN, bounty=0, exit_delay=3 * HOUR),
    FIRST.changed(commit_period=4 * HOUR, reveal_period=3 * HOUR, grace_period=2 * DAY, claim_window=2 * DAY),
)
KEYS = [(provider, kind) for provider in (1, 2) for kind in (0, 1)]
TRANSFER = keccak256(b"Transfer(address,address,uint256)")
SEEN: Counter = Counter()
"""How often each step was carried out or refused, and why."""

WEIGHTS = {
    "deposit": 2, "withdraw": 3, "apply": 5, "finalise": 6, "top_up": 3, "take": 4, "announce_exit": 4, "exit": 4,
    "lapse": 4, "challenge": 9, "commit": 20, "copy": 3, "reveal": 20, "resolve": 9, "claim": 8, "sweep": 2,
    "terms": 3, "donate": 1, "sweep_surplus": 1, "wait": 5,
}  # fmt: skip
"""How often each kind of step is tried."""


class CurationMachine:
    """Steps that admins, challengers, voters and strangers take, rightly and wrongly."""

    def __init__(self, play: Play, people, guardian, treasury, seed: int) -> None:
        self.play, self.people, self.guardian, self.treasury = play, people, guardian, str(treasury)
        self.contracts = (play.box, play.curator, play.parameters, play.vote)
        abis = [contract.abi for contract in self.contracts]
        self.wire, self.decoder = Wire(web3.provider.endpoint_uri, *abis), Decoder(*abis)
        self.draw = random.Random(seed)
        self.model = Model(play.terms, 0, {1: people[0].address, 2: people[1].address}, self.treasury)
        self.model.grace_ends = play.parameters.current()[1]
        self.model.balances = {who.address: play.balance(who) for who in people}
        self.votes: dict[tuple[int, str], tuple[int, int]] = {}
        self.removed = 0

    def run(self, steps: int) -> None:
        """So many steps, everything checked after each; then the ends."""
        for key in self.draw.sample(KEYS, self.draw.randint(2, 4)):
            self._list(key)
        for _ in range(self.draw.randint(0, 3)):
            self._challenge()
        for _ in range(steps):
            name = self.draw.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            getattr(self, f"_{name}")()
            self._check()
        self._logs_rebuild_the_state()
        self._slots_are_what_getters_say()
        self._everything_comes_to_an_end()

    def _check(self) -> None:
        seen = self._seen()
        self.views_are_the_models(seen)
        self.solvency(seen)
        self.lock_sound(seen)
        self.tally(seen)
        self.claim_once(seen)

    def _seen(self) -> dict:
        """All views, of one block."""
        box, curator = self.play.box, self.play.curator
        wanted: dict = {}
        for key in KEYS:
            wanted["listing", key] = (curator.listingOf, *key)
            wanted["verdict", key] = (curator.verdict, *key)
        for who in (*map(str, self.people), self.treasury):
            wanted["account", who] = (box.accountOf, who)
            wanted["available", who] = (box.availableOf, who)
        for number in self.model.polls:
            wanted["poll", number] = (box.pollOf, number)
            wanted["count", number] = (box.countOf, number)
        wanted["consumer"] = (box.consumerOf, curator.address)
        wanted["total"] = (box.totalTokens,)
        wanted["tokens"] = (self.play.token.balanceOf, box.address)
        return dict(zip(wanted, self.wire.read(*wanted.values()), strict=True))

    def views_are_the_models(self, seen) -> None:
        """All state; with it AuthLocality and SnapshotStable: the model goes by roles, and by terms at the start."""
        model, now = self.model, self.wire.now()
        for key in KEYS:
            want = model.listing(key)
            assert tuple(seen["listing", key]) == (
                want.deposit, want.state, want.ready_at, want.cool_until, want.poll, want.version,
                want.challenge_version,
            )  # fmt: skip
            status, weight = model.verdicts.get(key, (0, 0))
            assert tuple(seen["verdict", key]) == (status, 0, weight)
        for who in (*map(str, self.people), self.treasury):
            assert seen["account", who][0] == model.balances.get(who, 0)
            assert seen["available", who] == model.available(who, now)
        assert seen["consumer"] == (1, model.reserve)
        for number, poll in model.polls.items():
            if poll.outcome == OPEN:
                assert tuple(seen["poll", number]) == (
                    poll.commit_end, poll.reveal_end, 1, poll.terms.voting.slash, poll.committed,
                )  # fmt: skip
                assert tuple(seen["count", number]) == (OPEN, 0, poll.side(1), poll.side(0))
            else:
                assert tuple(seen["poll", number]) == (0, 0, 0, 0, 0)
                assert tuple(seen["count", number]) == (poll.outcome, poll.claim_end, poll.weight_left, poll.pool)

    def solvency(self, seen) -> None:
        """14: tokens = deposits + stakes + pools + voters' balances + what is nobody's."""
        assert seen["total"] == self.model.total()
        assert seen["tokens"] == self.model.total() + self.model.surplus

    def lock_sound(self, seen) -> None:
        """15: a balance covers the largest weight among the polls that still run."""
        now = self.wire.now()
        for who in map(str, self.people):
            needed = self.model.must_be_locked(who, now)
            assert seen["account", who][0] >= needed
            assert seen["available", who] <= seen["account", who][0] - needed

    def tally(self, seen) -> None:
        """16: for + against = revealed <= committed."""
        for number, poll in self.model.polls.items():
            if poll.outcome == OPEN:
                revealed = sum(vote.weight for vote in poll.votes.values() if vote.revealed)
                count = seen["count", number]
                assert count[2] + count[3] == revealed <= seen["poll", number][4]

    def claim_once(self, seen) -> None:
        """17: claims never exceed the pool, and when all who may have claimed, nothing is left."""
        for number, poll in self.model.polls.items():
            if poll.outcome != OPEN:
                entitled = any(self.model.claimable(number, who) for who in poll.votes)
                swept = self.wire.now() >= poll.claim_end
                assert poll.paid <= poll.whole
                assert entitled or swept or poll.pool == 0 or poll.weight_left == 0 or poll.pool < len(poll.votes)

    # Steps

    def _list(self, key):
        """So that there is something to begin with."""
        admin, amount = self.people[key[0] - 1], self.model.terms.listing.min_deposit + self.draw.choice((0, 1, 10**20))
        self._do(("apply", admin, key, amount), self.play.curator.applyFor, *key, amount, URI)
        if self.draw.random() < 0.8:
            self._pass(HOUR)
            self._do(("finalise", None, [key]), self.play.curator.finalise, [key])

    def _deposit(self):
        who, amount = self._who(), self.draw.choice((0, 1, 50 * TOKEN))
        self._do(("deposit", who, amount), self.play.box.deposit, amount, by=who)

    def _withdraw(self):
        who = self._who()
        available = self.model.available(who.address, self.wire.now())
        amount = self.draw.choice((0, 1, available, available + 1))
        self._do(("withdraw", who, amount), self.play.box.withdraw, amount, by=who)

    def _apply(self):
        key = self._key(NOT_LISTED)
        least = self.model.terms.listing.min_deposit
        held = self.model.listing(key).deposit
        amount = self.draw.choice((max(0, least - held), least, least + 13, max(0, least - held - 1), 0))
        self._do(("apply", self._admin(key), key, amount), self.play.curator.applyFor, *key, amount, URI)

    def _finalise(self):
        keys = self.draw.choices(KEYS, k=self.draw.randint(0, 4))
        if applied := [key for key in KEYS if self.model.listing(key).state == APPLIED and self.draw.random() < 0.7]:
            keys = [*keys, *applied]
            self._until(self.model.listing(applied[0]).ready_at, 0.6)
        self._do(("finalise", None, keys), self.play.curator.finalise, keys)

    def _top_up(self):
        key, amount = self._key(LISTED), self.draw.choice((0, 1, 50 * TOKEN, 70 * TOKEN))
        self._do(("top_up", self._admin(key), key, amount), self.play.curator.topUp, *key, amount)

    def _take(self):
        key = self.draw.choice(KEYS)
        deposit, least = self.model.listing(key).deposit, self.model.terms.listing.min_deposit
        amount = self.draw.choice((0, 1, deposit, max(0, deposit - least), deposit + 1))
        self._do(("take", self._admin(key), key, amount), self.play.curator.withdraw, *key, amount)

    def _announce_exit(self):
        key = self._key(LISTED)
        self._do(("announce_exit", self._admin(key), key), self.play.curator.announceExit, *key)

    def _exit(self):
        announced = [
            key for key in KEYS if self.model.listing(key).ready_at and self.model.listing(key).state == LISTED
        ]
        key = self.draw.choice(announced or KEYS)
        if announced:
            self._until(self.model.listing(key).ready_at, 0.7)
        self._do(("exit", self._admin(key), key), self.play.curator.exit, *key)

    def _lapse(self):
        key = self._key(LISTED)
        short = [
            key
            for key in KEYS
            if self.model.listing(key).state == LISTED
            and not self.model.listing(key).poll
            and self.model.listing(key).deposit < self.model.terms.listing.min_deposit
        ]
        if short:
            key = self.draw.choice(short)
            self._until(self.model.grace_ends, 0.4)
        self._do(("lapse", None, key), self.play.curator.lapse, *key)

    def _challenge(self) -> None:
        listed = [
            key for key in KEYS if self.model.listing(key).state != NOT_LISTED and not self.model.listing(key).poll
        ]
        if not listed and self.draw.random() < 0.8:
            self._apply()
            return
        key = self.draw.choice(listed if listed and self.draw.random() < 0.8 else KEYS)
        self._until(self.model.listing(key).cool_until, 0.5)
        self._do(("challenge", self._who(), key), self.play.curator.challenge, *key, URI)

    def _commit(self) -> None:
        if not self._committing() and self.draw.random() < 0.8:
            self._challenge()
            return
        # Rather the last two of the people, so that one voter is in several polls.
        who = self.draw.choice(self.people[-2:]) if self.draw.random() < 0.7 else self._who()
        number, choice = self._poll(committing=True), int(self.draw.random() < 0.6)
        balance = self.model.balances[who.address] // UNIT * UNIT
        weight = self.draw.choice((0, 1, UNIT, *[30 * TOKEN, 60 * TOKEN, 70 * TOKEN] * 2, balance, balance + UNIT))
        commitment = self.play.box.commitmentOf(number, who, choice, salt_of(who, number))
        if self._do(("commit", who, number, choice, weight), self.play.box.commit, number, commitment, weight):
            self.votes[number, who.address] = (choice, weight)

    def _copy(self):
        """19, NoVoteCopy: commit what somebody else committed, and reveal with the other's choice and salt."""
        number, who = self._poll(committing=True), self._who()
        others = [address for poll, address in self.votes if poll == number and address != who.address]
        if not others:
            return
        victim = self.draw.choice(others)
        choice, weight = self.votes[number, victim]
        commitment = self.play.box.commitmentOf(number, victim, choice, salt_of(victim, number))
        self._do(("commit", who, number, choice, weight), self.play.box.commit, number, commitment, weight, copied=True)

    def _reveal(self) -> None:
        pending = [
            (number, address)
            for number, poll in self.model.polls.items()
            for address, vote in poll.votes.items()
            if poll.outcome == OPEN and not vote.revealed
        ]
        if not pending and self.draw.random() < 0.8:
            self._commit()
            return
        if pending and self.draw.random() < 0.9:
            number, address = self.draw.choice(pending)
            poll = self.model.polls[number]
            self._until(poll.commit_end, 0.3)
        else:
            number, address = self._poll(), self._who().address
        vote = self.model.polls.get(number) and self.model.polls[number].votes.get(address)
        choice, weight = (vote.choice, vote.weight) if vote else (1, UNIT)
        if self.draw.random() < 0.1:
            choice, weight = self.draw.choice(((1 - choice, weight), (choice, weight + UNIT)))
        salt = salt_of(address, number)
        self._do(("reveal", address, number, choice, weight), self.play.box.reveal, number, choice, weight, salt)

    def _resolve(self) -> None:
        challenged = [key for key in KEYS if self.model.listing(key).poll]
        if not challenged and self.draw.random() < 0.8:
            self._challenge()
            return
        key = self.draw.choice(challenged or KEYS)
        if challenged:
            poll = self.model.polls[self.model.listing(key).poll]
            secret = any(not vote.revealed for vote in poll.votes.values())
            self._until(poll.reveal_end, 0.2 if secret or not poll.votes else 0.9)
        self._do(("resolve", self._who(), key), self.play.curator.resolve, *key)

    def _claim(self) -> None:
        winners = [
            (number, address)
            for number, poll in self.model.polls.items()
            for address in poll.votes
            if self.model.claimable(number, address)
        ]
        if not winners and self.draw.random() < 0.8:
            self._resolve()
            return
        if winners and self.draw.random() < 0.8:
            number, address = self.draw.choice(winners)
        else:
            number, address = self._poll(), self._who().address
        self._do(("claim", None, number, address), self.play.box.claim, number, address)

    def _sweep(self):
        left = [number for number, poll in self.model.polls.items() if poll.outcome != OPEN and poll.pool]
        number = self.draw.choice(left) if left and self.draw.random() < 0.7 else self._poll()
        if number in left:
            self._until(self.model.polls[number].claim_end, 0.6)
        self._do(("sweep", None, number), self.play.box.sweep, number)

    def _terms(self):
        """18: governance may change the terms at any time; nothing open may notice."""
        terms = self.draw.choice([terms for terms in (FIRST, *OTHERS, OTHERS[0]) if terms != self.model.terms])
        self.wire.send(self.guardian, self.play.parameters.schedule, terms)
        self._pass(HOUR)
        self.wire.send(self.guardian, self.play.parameters.execute, terms)
        self.model.set_terms(terms, self.wire.now())

    def _donate(self):
        self.wire.send(self.guardian, self.play.token.transfer, self.play.box.address, 11)
        self.model.surplus += 11

    def _sweep_surplus(self):
        self._do(("sweep_surplus", None), self.play.box.sweepSurplus)

    def _wait(self):
        self._pass(self.draw.choice((60, 600, HOUR, 2 * HOUR, DAY)))

    # Ends

    def _logs_rebuild_the_state(self):
        """4, LogReplay and 6, OneRemoved."""
        state = Replayed(self.play.curator.address, self.treasury)
        for log, time in self.wire.logs([contract.address for contract in self.contracts]):
            state.fold(*self.decoder.read(log), time)
        seen = self._seen()
        for key in KEYS:
            assert tuple(seen["listing", key]) == (tuple(state.listings.get(key, {}).values()) or (0,) * 7)
            assert tuple(seen["verdict", key]) == state.verdicts.get(key, (0, 0, 0))
        for who in (*map(str, self.people), self.treasury):
            assert seen["account", who][0] == state.balances[who]
        assert seen["consumer"][1] == state.reserves[self.play.curator.address]
        for number, poll in state.polls.items():
            if poll["outcome"]:
                assert seen["count", number][2:] == (poll["weight"], poll["pool"])
        assert state.removals == self.removed

    def _slots_are_what_getters_say(self):
        """12, SlotABI: the verdict as ICurator lays it out."""
        place = self.play.curator.address
        for key in KEYS:
            slot = mapping_slot(0, *key)
            named, verdict = self.wire.read((self.play.curator.verdictSlot, *key), (self.play.curator.verdict, *key))
            assert str(named) == slot
            word = self.wire.word(place, slot)
            assert (word & 0xFF, word >> 8 & 2**64 - 1, word >> 72) == tuple(verdict)

    def _everything_comes_to_an_end(self):
        """20, Liveness: by calls anyone may make, after a time that the terms bound; the admins take the rest."""
        box, curator, stranger, send = self.play.box, self.play.curator, self.guardian, self.wire.send
        versions = [terms.voting for terms in self.model.versions]
        self._pass(max(terms.commit_period + terms.reveal_period for terms in versions))
        for key in KEYS:
            if self.model.listing(key).poll:
                send(stranger, curator.resolve, *key)
        self._pass(max(terms.claim_window for terms in versions))
        for number, poll in self.model.polls.items():
            for address in poll.votes:
                if self._read(box.claimable, number, address):
                    send(stranger, box.claim, number, address)
            if self._read(box.countOf, number)[3]:
                send(stranger, box.sweep, number)
        if any(self._read(curator.listingOf, *key)[1] == APPLIED for key in KEYS):
            send(stranger, curator.finalise, KEYS)
        for key in KEYS:
            self._leave(key, self.people[key[0] - 1])
        assert self._read(box.consumerOf, curator.address)[1] == 0
        for who in (*map(str, self.people), self.treasury):
            balance = self._read(box.accountOf, who)[0]
            assert self._read(box.availableOf, who) == balance
            if balance and who != self.treasury:
                send(who, box.withdraw, balance)
        left = [self._read(box.accountOf, str(who))[0] for who in (self.treasury, stranger)]
        assert self._read(box.totalTokens) == sum(left)

    def _leave(self, key, admin):
        curator = self.play.curator
        if self._read(curator.listingOf, *key)[1] == LISTED:
            if self.wire.now() >= self._read(curator.listingOf, *key)[2]:
                self._pass(3 * DAY)  # past the window of an exit announced long ago
                self.wire.send(admin, curator.announceExit, *key)
            self._pass(max(0, self._read(curator.listingOf, *key)[2] - self.wire.now()))
            self.wire.send(admin, curator.exit, *key)
        if left := self._read(curator.listingOf, *key)[0]:
            self.wire.send(admin, curator.withdraw, *key, left)

    def _read(self, function, *arguments):
        return self.wire.read((function, *arguments))[0]

    # Inside

    def _do(self, step, function, *arguments, by=None, **options) -> bool:
        """Take a step in the model and on the chain at the same second; they must agree on whether it is allowed."""
        name, who, *rest = step
        sender = str(by or who or self._who())
        now = self.wire.now()
        model_arguments = [sender, *rest] if who is not None else rest
        if name == "resolve":
            model_arguments = [sender, *rest]
        before = dict(self.model.verdicts)
        try:
            getattr(self.model, name)(*model_arguments, now=now, **options)
        except Refused as refused:
            with pytest.raises(Reverted, match=f"^{refused}$"):
                self.wire.send(sender, function, *arguments)
            SEEN[name, str(refused)] += 1
            return False
        events = [self.decoder.read(log) for log in self.wire.send(sender, function, *arguments) if self._ours(log)]
        changed = {key for key in KEYS if before.get(key, (0, 0)) != self.model.verdicts.get(key, (0, 0))}
        # 6, OneRemoved: one event for each verdict that changed, none for others.
        told = [(the["providerId"], the["kind"]) for event, the in events if event == "VerdictChanged"]
        assert sorted(told) == sorted(changed)
        self.removed += sum(before.get(key, (0, 0))[0] == 1 != self.model.verdicts[key][0] for key in changed)
        SEEN[name, "done"] += 1
        return True

    def _ours(self, log) -> bool:
        return log["topics"][0] != TRANSFER

    def _pass(self, seconds: int) -> None:
        self.wire.pass_time(seconds)

    def _who(self):
        return self.draw.choice(self.people)

    def _key(self, state: int) -> tuple[int, int]:
        """A listing, rather one in a state."""
        fitting = [key for key in KEYS if self.model.listing(key).state == state]
        return self.draw.choice(fitting if fitting and self.draw.random() < 0.85 else KEYS)

    def _admin(self, key):
        return self.people[key[0] - 1] if self.draw.random() < 0.9 else self._who()

    def _poll(self, committing: bool = False) -> int:
        """A poll, rather an open one; now and then one that there is not."""
        running = [number for number, poll in self.model.polls.items() if poll.outcome == OPEN]
        if committing:
            running = self._committing() or running
        if running and self.draw.random() < 0.9:
            return self.draw.choice(running)
        return self.draw.randint(0, len(self.model.polls) + 1)

    def _committing(self) -> list[int]:
        now = self.wire.now()
        return [number for number, poll in self.model.polls.items() if not poll.outcome and now < poll.commit_end]

    def _until(self, time: int, chance: float) -> None:
        """Now and then, wait until it is time."""
        if self.draw.random() < chance and self.wire.now() < time:
            self._pass(time - self.wire.now())


@pytest.fixture(scope="module")
def short_play(registry, guardian, provider, rival_provider, admin, rival, treasury, challenger, alice, bob):
    token = TestToken.deploy(10**9 * TOKEN, {"from": guardian})
    made = deploy(guardian, registry, token, terms=FIRST, delay=HOUR, treasury=treasury)
    play = Play(made, registry)
    endow(play, guardian, (admin, rival, challenger, alice, bob), held=200 * TOKEN, spare=100_000 * TOKEN)
    return play


def test_the_curation_does_what_the_model_does(short_play, admin, rival, challenger, alice, bob, guardian, treasury):
    people = (admin, rival, challenger, alice, bob)
    SEEN.clear()

    play_examples(
        lambda seed, steps: CurationMachine(short_play, people, guardian, treasury, seed).run(steps),
        examples=6, steps=40,
    )  # fmt: skip
    _nothing_was_left_out()


def _nothing_was_left_out():
    """Every kind of step was carried out, and refused, if there were enough of them."""
    if sum(SEEN.values()) < 5_000:
        return
    for name in WEIGHTS.keys() - {"wait", "terms", "donate", "copy"}:
        assert SEEN[name, "done"], f"{name} was never carried out"
        assert any(count for (step, how), count in SEEN.items() if step == name and how != "done"), name
