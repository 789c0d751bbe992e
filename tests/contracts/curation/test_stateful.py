"""The token-curated registry against a Python model of it (tests/support/curation_model.py), refused calls included.

After every step the contracts' views are compared with the model's. When a run is over, the logs alone rebuild the same
state, raw storage says what the getters say, and whatever is still open is brought to its end by calls anyone may make.
Named after the invariants: LogReplay, OneRemoved, AuthLocality, SlotABI, Solvency, LockSound, Tally, ClaimOnce,
SnapshotStable, NoVoteCopy, Liveness. docs/invariants.md says where each of the twenty is.

    WAYPOST_EXAMPLES=200 WAYPOST_STEPS=50 brownie test tests/contracts/curation/test_stateful.py
"""

from __future__ import annotations

import os
import random

import pytest
from brownie import TestToken, accounts, chain, web3
from brownie.exceptions import VirtualMachineError
from brownie.test import strategy

from scripts.deploy_token_curator import deploy
from scripts.terms import DAY, HOUR, TOKEN, ListingTerms, Terms, VotingTerms
from tests.support.curation import URI, Play, endow, salt_of
from tests.support.curation_model import LISTED, NOT_LISTED, OPEN, UNIT, Model, Refused
from tests.support.curation_replay import Decoder, Replayed
from tests.support.storage import mapping_slot, words

EXAMPLES = int(os.environ.get("WAYPOST_EXAMPLES", "6"))
STEPS = int(os.environ.get("WAYPOST_STEPS", "40"))

FIRST = Terms(
    ListingTerms(100 * TOKEN + 7, HOUR, HOUR, 2 * HOUR, DAY),
    VotingTerms(50 * TOKEN, 5_000, 4_001, 203, 1_000, HOUR, HOUR, HOUR, DAY),
)
OTHERS = (
    FIRST.changed(min_deposit=150 * TOKEN + 3, slash=0, threshold=6_000, cooldown=0, voter_share=9_000),
    FIRST.changed(min_deposit=80 * TOKEN, slash=2_500, quorum=200 * TOKEN, bounty=0, exit_delay=3 * HOUR),
    FIRST.changed(commit_period=2 * HOUR, reveal_period=2 * HOUR, grace_period=2 * DAY, claim_window=2 * DAY),
)
KEYS = [(provider, kind) for provider in (1, 2) for kind in (0, 1)]
WEIGHTS = {
    "deposit": 2, "withdraw": 3, "apply": 5, "finalise": 5, "top_up": 2, "take": 3, "announce_exit": 2, "exit": 3,
    "lapse": 2, "challenge": 8, "commit": 14, "copy": 2, "reveal": 14, "resolve": 9, "claim": 7, "sweep": 2,
    "terms": 2, "donate": 1, "sweep_surplus": 1, "wait": 14,
}  # fmt: skip


class CurationMachine:
    """Steps that admins, challengers, voters and strangers take, rightly and wrongly."""

    seed = strategy("uint256")

    def __init__(cls, play, people, guardian, treasury):  # Brownie calls it once, on the class
        cls.play, cls.people, cls.guardian, cls.treasury = play, people, guardian, treasury
        cls.contracts = (play.box, play.curator, play.parameters, play.vote)
        cls.balances = {who.address: play.balance(who) for who in people}

    def setup(self):
        self.start = chain.height
        version = self.play.parameters.current()
        self.model = Model(self.play.terms, 0, {1: self.people[0].address, 2: self.people[1].address}, self.treasury)
        self.model.grace_ends = version[1]
        self.model.balances = dict(self.balances)
        self.salts: dict[tuple[int, str], tuple[int, int]] = {}
        self.removed = 0

    def rule_step(self, seed):
        """One step, drawn by weight from the seed: Hypothesis by itself likes to leave whole rules out of a run."""
        self.draw = random.Random(seed)
        name = self.draw.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        getattr(self, f"_{name}")()

    def invariant_views_are_the_models(self):
        """All state; with it AuthLocality and SnapshotStable: the model goes by roles, and by the terms at the start."""
        play, model, now = self.play, self.model, chain[-1].timestamp
        for key in KEYS:
            want = model.listing(key)
            seen = play.curator.listingOf(*key)
            assert tuple(seen) == (
                want.deposit, want.state, want.ready_at, want.cool_until, want.poll, want.version,
                want.challenge_version,
            )  # fmt: skip
            status, weight = model.verdicts.get(key, (0, 0))
            assert play.verdict(*key) == (status, 0, weight)
        for who in (*self.people, self.treasury):
            address = str(who)
            assert play.balance(address) == model.balances.get(address, 0)
            assert play.box.availableOf(address) == model.available(address, now)
        assert play.reserve() == model.reserve
        for number, poll in model.polls.items():
            count = play.box.countOf(number)
            if poll.outcome == OPEN:
                assert tuple(play.box.pollOf(number)) == (
                    poll.commit_end, poll.reveal_end, 1, poll.terms.voting.slash, poll.committed,
                )  # fmt: skip
                assert tuple(count) == (OPEN, 0, poll.side(1), poll.side(0))
            else:
                assert tuple(count) == (poll.outcome, poll.claim_end, poll.weight_left, poll.pool)

    def invariant_solvency(self):
        """14: tokens = deposits + stakes + pools + voters' balances + what is nobody's."""
        box = self.play.box
        assert box.totalTokens() == self.model.total()
        assert self.play.token.balanceOf(box) == self.model.total() + self.model.surplus

    def invariant_lock_sound(self):
        """15: a balance covers the largest weight among the polls that still run."""
        now = chain[-1].timestamp
        for who in self.people:
            needed = self.model.must_be_locked(who.address, now)
            assert self.play.balance(who) >= needed
            assert self.play.box.availableOf(who) <= self.play.balance(who) - needed

    def invariant_tally(self):
        """16: for + against = revealed <= committed."""
        for number, poll in self.model.polls.items():
            if poll.outcome == OPEN:
                count, (*_, committed) = self.play.box.countOf(number), self.play.box.pollOf(number)
                revealed = sum(vote.weight for vote in poll.votes.values() if vote.revealed)
                assert count[2] + count[3] == revealed <= committed

    def invariant_claim_once(self):
        """17: claims never exceed the pool, and when all have claimed nothing is left."""
        for number, poll in self.model.polls.items():
            if poll.outcome != OPEN and poll.weight_left == 0:
                assert self.play.box.countOf(number)[2:] == (0, poll.pool)
                assert poll.pool == 0 or poll.paid == 0

    def teardown(self):
        self._logs_rebuild_the_state()
        self._slots_are_what_getters_say()
        self._everything_comes_to_an_end()

    # Steps

    def _deposit(self):
        who, amount = self._who(), self.draw.choice((0, 1, 50 * TOKEN))
        self._do(("deposit", who, amount), self.play.box.deposit, amount, by=who)

    def _withdraw(self):
        who = self._who()
        available = self.model.available(who.address, chain[-1].timestamp)
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
        announced = [key for key in KEYS if self.model.listing(key).ready_at and self.model.listing(key).state == LISTED]
        key = self.draw.choice(announced or KEYS)
        self._do(("exit", self._admin(key), key), self.play.curator.exit, *key)

    def _lapse(self):
        key = self._key(LISTED)
        self._do(("lapse", None, key), self.play.curator.lapse, *key)

    def _challenge(self):
        listed = [key for key in KEYS if self.model.listing(key).state != NOT_LISTED]
        key = self.draw.choice(listed or KEYS)
        self._do(("challenge", self._who(), key), self.play.curator.challenge, *key, URI)

    def _commit(self):
        who, number, choice = self._who(), self._poll(), self.draw.randint(0, 1)
        balance = self.model.balances[who.address] // UNIT * UNIT
        weight = self.draw.choice((0, 1, UNIT, 30 * TOKEN, 60 * TOKEN, 60 * TOKEN, 90 * TOKEN, balance, balance + UNIT))
        commitment = self.play.box.commitmentOf(number, who, choice, salt_of(who, number))
        if self._do(("commit", who, number, choice, weight), self.play.box.commit, number, commitment, weight):
            self.salts[number, who.address] = (choice, weight)

    def _copy(self):
        """19, NoVoteCopy: commit what somebody else committed, and reveal with the other's choice and salt."""
        number, who = self._poll(), self._who()
        others = [address for poll, address in self.salts if poll == number and address != who.address]
        if not others:
            return
        victim = self.draw.choice(others)
        choice, weight = self.salts[number, victim]
        commitment = self.play.box.commitmentOf(number, victim, choice, salt_of(victim, number))
        self._do(
            ("commit", who, number, choice, weight), self.play.box.commit, number, commitment, weight, copied=True
        )

    def _reveal(self):
        pending = [
            (number, address)
            for number, poll in self.model.polls.items()
            for address, vote in poll.votes.items()
            if poll.outcome == OPEN and not vote.revealed
        ]
        if pending and self.draw.random() < 0.9:
            number, address = self.draw.choice(pending)
            poll = self.model.polls[number]
            if chain[-1].timestamp < poll.commit_end and self.draw.random() < 0.7:
                self._pass(poll.commit_end - chain[-1].timestamp)
        else:
            number, address = self._poll(), self._who().address
        vote = self.model.polls.get(number) and self.model.polls[number].votes.get(address)
        choice, weight = (vote.choice, vote.weight) if vote else (1, UNIT)
        if self.draw.random() < 0.1:
            choice, weight = self.draw.choice(((1 - choice, weight), (choice, weight + UNIT)))
        salt = salt_of(address, number)
        self._do(
            ("reveal", accounts.at(address), number, choice, weight), self.play.box.reveal, number, choice, weight, salt
        )

    def _resolve(self):
        challenged = [key for key in KEYS if self.model.listing(key).poll]
        key = self.draw.choice(challenged or KEYS)
        if challenged and self.draw.random() < 0.7:
            self._pass(max(0, self.model.polls[self.model.listing(key).poll].reveal_end - chain[-1].timestamp))
        self._do(("resolve", self._who(), key), self.play.curator.resolve, *key)

    def _claim(self):
        winners = [
            (number, address)
            for number, poll in self.model.polls.items()
            for address in poll.votes
            if self.model.claimable(number, address)
        ]
        if winners and self.draw.random() < 0.8:
            number, address = self.draw.choice(winners)
        else:
            number, address = self._poll(), self._who().address
        self._do(("claim", None, number, address), self.play.box.claim, number, address)

    def _sweep(self):
        number = self._poll()
        if self.draw.random() < 0.5:
            self._pass(DAY)
        self._do(("sweep", None, number), self.play.box.sweep, number)

    def _terms(self):
        """18: governance may change the terms at any time; nothing open may notice."""
        terms = self.draw.choice([terms for terms in (FIRST, *OTHERS) if terms != self.model.terms])
        by = {"from": self.guardian}
        self.play.parameters.schedule(terms, by)
        self._pass(self.play.parameters.DELAY())
        self._at_this_time()
        tx = self.play.parameters.execute(terms, by)
        self.model.set_terms(terms, tx.timestamp)

    def _donate(self):
        self.play.token.transfer(self.play.box, 11, {"from": self.guardian})
        self.model.surplus += 11

    def _sweep_surplus(self):
        self._do(("sweep_surplus", None), self.play.box.sweepSurplus)

    def _wait(self):
        self._pass(self.draw.choice((600, HOUR, HOUR, 2 * HOUR, DAY)))

    # Ends

    def _logs_rebuild_the_state(self):
        """4, LogReplay and 6, OneRemoved."""
        places = [contract.address for contract in self.contracts]
        decoder = Decoder(*(contract.abi for contract in self.contracts))
        state, times = Replayed(self.play.curator.address, str(self.treasury)), {}
        for log in web3.eth.get_logs({"fromBlock": 0, "address": places}):
            number = log["blockNumber"]
            if number not in times:
                times[number] = web3.eth.get_block(number)["timestamp"]
            state.fold(*decoder.read(log), times[number])
        for key in KEYS:
            listing = state.listings.get(key, {})
            assert tuple(self.play.curator.listingOf(*key)) == (tuple(listing.values()) or (0,) * 7)
            assert self.play.verdict(*key) == state.verdicts.get(key, (0, 0, 0))
        for who in (*self.people, self.treasury):
            assert self.play.balance(str(who)) == state.balances[str(who)]
        assert self.play.reserve() == state.reserves[self.play.curator.address]
        for number, poll in state.polls.items():
            if poll["outcome"]:
                assert self.play.box.countOf(number)[2:] == (poll["weight"], poll["pool"])
        assert state.removals == self.removed

    def _slots_are_what_getters_say(self):
        """12, SlotABI: the verdict as ICurator lays it out."""
        for key in KEYS:
            slot = mapping_slot(0, *key)
            assert self.play.curator.verdictSlot(*key) == slot
            word = words(web3, self.play.curator, slot)
            assert (word & 0xFF, word >> 8 & 2**64 - 1, word >> 72) == self.play.verdict(*key)

    def _everything_comes_to_an_end(self):
        """20, Liveness: by calls anyone may make, after a time that the terms bound; the admins take the rest."""
        stranger = {"from": self.guardian}
        longest = max(terms.voting.commit_period + terms.voting.reveal_period for terms in self.model.versions)
        self._pass(longest)
        for key in KEYS:
            if self.model.listing(key).poll:
                self.play.curator.resolve(*key, stranger)
        self._pass(max(terms.voting.claim_window for terms in self.model.versions))
        for number, poll in self.model.polls.items():
            for address in poll.votes:
                if self.play.box.claimable(number, address):
                    self.play.box.claim(number, address, stranger)
            if self.play.box.countOf(number)[3]:
                self.play.box.sweep(number, stranger)
            assert self.play.box.countOf(number)[3] == 0
        if any(self.play.curator.listingOf(*key)[1] == 1 for key in KEYS):
            self.play.curator.finalise(KEYS, stranger)
        for key in KEYS:
            admin = {"from": self.people[key[0] - 1]}
            if self.play.curator.listingOf(*key)[1] == LISTED:
                self.play.curator.announceExit(*key, admin)
                self._pass(3 * HOUR)
                self.play.curator.exit(*key, admin)
            if left := self.play.curator.listingOf(*key)[0]:
                self.play.curator.withdraw(*key, left, admin)
        assert self.play.reserve() == 0
        for who in self.people:
            assert self.play.box.availableOf(who) == self.play.balance(who)
            if self.play.balance(who):
                self.play.box.withdraw(self.play.balance(who), {"from": who})
        left = sum(self.play.balance(who) for who in (self.guardian, str(self.treasury)))
        assert self.play.box.totalTokens() == left

    # Inside

    def _do(self, step, function, *arguments, by=None, **options) -> bool:
        """Take a step in the model and on the chain at the same second; they must agree on whether it is allowed."""
        name, who, *rest = step
        sender = by or who or self._who()
        now = self._at_this_time()
        model_arguments = [sender.address, *rest] if who is not None else rest
        before = dict(self.model.verdicts)
        try:
            getattr(self.model, name)(*model_arguments, now=now, **options)
        except Refused as refused:
            with pytest.raises(VirtualMachineError) as caught:
                function.call(*arguments, {"from": sender})
            assert (caught.value.revert_msg or "").split(":")[0] == str(refused)
            return False
        tx = function(*arguments, {"from": sender})
        assert tx.timestamp == now
        changed = {key for key in KEYS if before.get(key, (0, 0)) != self.model.verdicts.get(key, (0, 0))}
        # 6, OneRemoved: one event for each verdict that changed, none for others.
        events = tx.events["VerdictChanged"] if "VerdictChanged" in tx.events else []
        assert sorted((event["providerId"], event["kind"]) for event in events) == sorted(changed)
        self.removed += sum(before.get(key, (0, 0))[0] == 1 != self.model.verdicts[key][0] for key in changed)
        return True

    def _at_this_time(self) -> int:
        """Let the next transaction have the time of the latest block, so that calls and transactions see the same."""
        now = chain[-1].timestamp
        web3.provider.make_request("evm_setNextBlockTimestamp", [now])
        return now

    def _pass(self, seconds: int) -> None:
        web3.provider.make_request("evm_setNextBlockTimestamp", [chain[-1].timestamp + seconds])
        web3.provider.make_request("evm_mine", [])

    def _who(self):
        return self.draw.choice(self.people)

    def _key(self, state: int) -> tuple[int, int]:
        """A listing, rather one in a state."""
        fitting = [key for key in KEYS if self.model.listing(key).state == state]
        return self.draw.choice(fitting if fitting and self.draw.random() < 0.85 else KEYS)

    def _admin(self, key):
        return self.people[key[0] - 1] if self.draw.random() < 0.9 else self._who()

    def _poll(self) -> int:
        """A poll, rather an open one; now and then one that there is not."""
        running = [number for number, poll in self.model.polls.items() if poll.outcome == OPEN]
        if running and self.draw.random() < 0.85:
            return self.draw.choice(running)
        return self.draw.randint(0, len(self.model.polls) + 1)


@pytest.fixture(scope="module")
def short_play(registry, guardian, provider, rival_provider, admin, rival, treasury, challenger, alice, bob):
    token = TestToken.deploy(10**9 * TOKEN, {"from": guardian})
    made = deploy(guardian, registry, token, terms=FIRST, delay=HOUR, treasury=treasury)
    play = Play(made, registry)
    endow(play, guardian, (admin, rival, challenger, alice, bob), held=200 * TOKEN, spare=100_000 * TOKEN)
    return play


def test_the_curation_does_what_the_model_does(
    state_machine, short_play, admin, rival, challenger, alice, bob, guardian, treasury
):
    state_machine(
        CurationMachine, short_play, (admin, rival, challenger, alice, bob), guardian, treasury,
        settings={"max_examples": EXAMPLES, "stateful_step_count": STEPS},
    )  # fmt: skip
