"""The token-curated registry's state, rebuilt from the logs of its contracts alone: what a follower would do."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from eth_abi import decode
from eth_utils import to_checksum_address

from offchain.hashing import keccak256

UNIT = 10_000
NOT_LISTED, APPLIED, LISTED = range(3)
AGAINST, FOR, DRAW = 1, 2, 3


class Decoder:
    """Logs to (event, arguments) by the ABIs of the contracts that may have emitted them."""

    def __init__(self, *abis: list) -> None:
        self._events = {}
        for entry in (entry for abi in abis for entry in abi if entry["type"] == "event"):
            signature = f"{entry['name']}({','.join(_type(part) for part in entry['inputs'])})"
            self._events[keccak256(signature.encode())] = entry

    def read(self, log) -> tuple[str, dict]:
        topics, data = [bytes(topic) for topic in log["topics"]], bytes(log["data"])
        entry = self._events[topics[0]]
        indexed = [part for part in entry["inputs"] if part["indexed"]]
        others = [part for part in entry["inputs"] if not part["indexed"]]
        values = {
            part["name"]: decode([_type(part)], topic)[0] for part, topic in zip(indexed, topics[1:], strict=True)
        }
        values |= dict(
            zip((part["name"] for part in others), decode([_type(part) for part in others], data), strict=True)
        )
        return entry["name"], {name: _checksummed(value) for name, value in values.items()}


@dataclass
class Replayed:
    """Accounts, reserves, polls, listings, verdicts and terms."""

    curator: str
    treasury: str
    balances: dict = field(default_factory=lambda: defaultdict(int))
    reserves: dict = field(default_factory=lambda: defaultdict(int))
    polls: dict = field(default_factory=dict)
    listings: dict = field(default_factory=dict)
    verdicts: dict = field(default_factory=dict)
    terms: dict = field(default_factory=dict)
    removals: int = 0
    """How often a verdict stopped being Accepted."""

    def fold(self, event: str, the: dict, time: int) -> None:
        """Take in one event of a block at a time; events that change none of this are passed over."""
        handler = getattr(self, f"_{event}", None)
        if handler is not None:
            handler(the, time)

    # Parameters

    def _ParametersSet(self, the, time):
        assert the["version"] == len(self.terms) + 1
        self.terms[the["version"]] = the["terms"]

    # Ballot box

    def _Deposited(self, the, time):
        self.balances[the["account"]] += the["amount"]

    def _Withdrawn(self, the, time):
        self.balances[the["account"]] -= the["amount"]

    def _Paid(self, the, time):
        self.reserves[the["consumer"]] -= the["amount"]
        self.balances[the["account"]] += the["amount"]

    def _PollStarted(self, the, time):
        assert the["pollId"] == len(self.polls) + 1
        self.reserves[the["consumer"]] += the["stake"]
        self.polls[the["pollId"]] = dict(the, committed=0, votes=[0, 0], outcome=0, pool=0, weight=0, revealed={})

    def _VoteCommitted(self, the, time):
        poll = self.polls[the["pollId"]]
        self.balances[the["voter"]] -= the["weight"] * poll["slash"] // UNIT
        poll["committed"] += the["weight"]

    def _VoteRevealed(self, the, time):
        poll = self.polls[the["pollId"]]
        poll["votes"][the["choice"]] += the["weight"]
        poll["revealed"][the["voter"]] = the["weight"]

    def _PollClosed(self, the, time):
        poll = self.polls[the["pollId"]]
        against, for_ = poll["votes"]
        poll["outcome"], poll["pool"] = the["outcome"], the["pool"]
        poll["weight"] = {AGAINST: against, FOR: for_, DRAW: against + for_}[the["outcome"]]
        self.balances[the["resolver"]] += the["bounty"]
        stake, bonds = poll["stake"], poll["committed"] * poll["slash"] // UNIT
        reward = the["pool"] - bonds
        prize = {AGAINST: 0, FOR: 2 * stake - reward - the["bounty"], DRAW: stake}[the["outcome"]]
        self.balances[poll["challenger"]] += prize
        spent = {AGAINST: reward + the["bounty"], FOR: 2 * stake, DRAW: stake}[the["outcome"]]
        self.reserves[poll["consumer"]] -= spent
        poll["rest"] = stake - spent if the["outcome"] == AGAINST else 0

    def _BondsForfeited(self, the, time):
        self.balances[self.treasury] += the["amount"]

    def _RewardClaimed(self, the, time):
        poll = self.polls[the["pollId"]]
        self.balances[the["voter"]] += the["amount"]
        poll["pool"] -= the["amount"]
        poll["weight"] -= poll["revealed"].pop(the["voter"])

    def _Swept(self, the, time):
        self.balances[self.treasury] += the["amount"]
        self.polls[the["pollId"]]["pool"] -= the["amount"]

    def _SurplusSwept(self, the, time):
        self.balances[self.treasury] += the["amount"]

    # Token curator

    def _listing(self, the) -> dict:
        empty = {"deposit": 0, "state": NOT_LISTED, "ready": 0, "cool": 0, "poll": 0, "version": 0, "challenge": 0}
        return self.listings.setdefault((the["providerId"], the["kind"]), empty)

    def _Applied(self, the, time):
        listing = self._listing(the)
        assert listing["state"] == NOT_LISTED
        self.reserves[self.curator] += the["amount"]
        listing.update(
            deposit=listing["deposit"] + the["amount"], state=APPLIED, ready=the["readyAt"], version=the["version"]
        )

    def _Finalised(self, the, time):
        self._listing(the).update(state=LISTED, ready=0)

    def _DepositChanged(self, the, time):
        listing = self._listing(the)
        # What goes out is Paid; what comes in, the token says and this.
        self.reserves[self.curator] += max(0, the["deposit"] - listing["deposit"])
        listing.update(deposit=the["deposit"], version=the["version"])

    def _Challenged(self, the, time):
        self._listing(the).update(poll=the["pollId"], challenge=the["version"])
        self.polls[the["pollId"]]["challenger"] = the["challenger"]

    def _ChallengeResolved(self, the, time):
        listing, poll = self._listing(the), self.polls[the["pollId"]]
        listing.update(poll=0, cool=time + self.terms[listing["challenge"]][1][7])
        if the["outcome"] == FOR:
            listing.update(state=NOT_LISTED, ready=0, deposit=listing["deposit"] - poll["stake"])
            return
        listing["deposit"] += poll["rest"]
        if listing["state"] == APPLIED or 0 < listing["ready"] < time:
            listing["ready"] = time

    def _ExitAnnounced(self, the, time):
        self._listing(the)["ready"] = the["readyAt"]

    def _Exited(self, the, time):
        self._listing(the).update(state=NOT_LISTED, ready=0, cool=time + self.terms[len(self.terms)][1][7])

    _Lapsed = _Exited

    def _VerdictChanged(self, the, time):
        key = the["providerId"], the["kind"]
        after = the["status"], the["until"], the["weight"]
        before = self.verdicts.get(key, (0, 0, 0))
        assert before != after
        self.removals += before[0] == 1 and after[0] != 1
        self.verdicts[key] = after


def _type(part: dict) -> str:
    if not part["type"].startswith("tuple"):
        return part["type"]
    return f"({','.join(map(_type, part['components']))}){part['type'][5:]}"


def _checksummed(value):
    if isinstance(value, str) and value.startswith("0x") and len(value) == 42:
        return to_checksum_address(value)
    return tuple(map(_checksummed, value)) if isinstance(value, (list, tuple)) else value
