"""One round of asking another server for what we lack: a machine without socket, clock or task.

    while (question := asker.next_question()) is not None:
        send it; hand each answer to asker.receive(), which gives the envelopes that came

Windows are compared first, then the parts of those that differ, depth first, so that memory is bounded however much
differs. The other server is trusted and may be broken or lie all the same: what it answers must fit what was asked,
rounds, questions and promises not kept are bounded, and nothing is taken that was not asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable
from dataclasses import dataclass
from typing import Protocol

from offchain.hashing import keccak256
from offchain.mailserver.reconcile.fingerprint import Total
from offchain.mailserver.reconcile.packets import (
    MAX_FETCHED,
    MAX_RANGES,
    Ask,
    Divided,
    Envelopes,
    Fetch,
    Listed,
    Question,
    Range,
    Refuse,
    SyncError,
    SyncPacket,
    Tell,
    Told,
)

MAX_DEPTH = 12
"""How often a window is divided: 16 parts each time, 128 at the end, so far more than there can be."""

MAX_QUESTIONS = 500_000
"""Ranges asked for in a round; the next round goes on."""

MAX_MISSING = 4_096
"""Envelopes that were listed and then did not come: some may have been deleted meanwhile, so many not."""


class Own(Protocol):
    """What we have ourselves: `summary.Summary`. The machine reads it and nothing else."""

    def total(self, range_: Range) -> Total: ...

    def lacking(self, positions: Collection[bytes]) -> list[bytes]: ...


@dataclass(frozen=True, slots=True)
class _Task:
    """A range to be compared."""

    range: Range
    depth: int
    theirs: bytes | None
    """The other server's fingerprint, if it told."""


class Asker:
    """One round. `receive` raises SyncError when the other server breaks the protocol; the round is over then."""

    def __init__(self, own: Own, ranges: Iterable[Range], unwanted: Container[bytes] = ()) -> None:
        """`ranges`, in the order in which they are to be compared; `unwanted`: hashes not to be fetched, if listed."""
        self._own = own
        self._unwanted = unwanted
        self._tasks = [_Task(each, 0, None) for each in ranges]
        self._tasks.reverse()
        self._wanted: list[bytes] = []
        self._number = 0
        self._asked: list[_Task] = []
        self._fetching: dict[bytes, bytes] = {}
        """Positions of what was asked for and has not come, by hash."""
        self.failure: str | None = None
        self.questions = 0
        self.missing: list[bytes] = []
        """Positions listed for which nothing came."""

    @property
    def waiting(self) -> bool:
        """Whether an answer is expected."""
        return bool(self._asked or self._fetching)

    @property
    def succeeded(self) -> bool:
        """Whether the round is over and everything was compared and fetched."""
        return self.failure is None and not (self.waiting or self._tasks or self._wanted)

    def next_question(self) -> Ask | Fetch | None:
        """What to send next; None when the round is over."""
        if self.failure is not None or self.waiting:
            return None
        if self._wanted and (len(self._wanted) >= MAX_FETCHED or not self._tasks):
            return self._fetch()
        questions = self._compare()
        if questions:
            self._number += 1
            return Ask(self._number, tuple(questions))
        return self._fetch() if self._wanted else None

    def receive(self, packet: SyncPacket) -> tuple[bytes, ...]:
        """Take in an answer; the envelopes that came with it, each of which was asked for."""
        if packet.number != self._number or not self.waiting:
            raise self._broken(f"an answer to question {packet.number} came, expected one to {self._number}")
        if isinstance(packet, Refuse):
            self._fail(f"it refused: {packet.text!r}")
            return ()
        if isinstance(packet, Tell) and self._asked:
            self._take_answers(packet)
            return ()
        if isinstance(packet, Envelopes) and self._fetching:
            return self._take_envelopes(packet)
        raise self._broken("another packet was asked for")

    def _compare(self) -> list[Question]:
        """Questions about the next ranges that differ, or may."""
        questions: list[Question] = []
        while self._tasks and len(questions) < MAX_RANGES:
            task = self._tasks.pop()
            mine = self._own.total(task.range).fingerprint
            if mine != task.theirs:
                questions.append(Question(task.range, mine))
                self._asked.append(task)
        self.questions += len(questions)
        if self.questions > MAX_QUESTIONS:
            self._fail(f"it did not end after {MAX_QUESTIONS} questions")
            return []
        return questions

    def _fetch(self) -> Fetch:
        wanted, self._wanted = self._wanted[:MAX_FETCHED], self._wanted[MAX_FETCHED:]
        self._fetching = {at[4:]: at for at in wanted}
        self._number += 1
        return Fetch(self._number, tuple(sorted(wanted)))

    def _take_answers(self, tell: Tell) -> None:
        if len(tell.answers) > len(self._asked):
            raise self._broken(f"{len(tell.answers)} answers came to {len(self._asked)} questions")
        answered, rest = self._asked[: len(tell.answers)], self._asked[len(tell.answers) :]
        self._asked = []
        self._tasks += reversed(rest)  # before what was answered: compared after it
        for task, told in zip(answered, tell.answers, strict=True):
            self._take_answer(task, told)

    def _take_answer(self, task: _Task, told: Told) -> None:
        if isinstance(told, Listed):
            if told.positions and not task.range.begin <= told.positions[0] <= told.positions[-1] < task.range.end:
                raise self._broken("a position is listed that is not in the range")
            self._wanted += [at for at in self._own.lacking(told.positions) if at[4:] not in self._unwanted]
        elif isinstance(told, Divided):
            ends = [end for end, _ in told.parts]
            if ends[0] <= task.range.begin or ends[-1] != task.range.end:
                raise self._broken("the parts are not the range")
            if task.depth >= MAX_DEPTH:
                raise self._broken(f"a window was divided {MAX_DEPTH} times")
            begins = [task.range.begin, *ends[:-1]]
            parts = zip(begins, told.parts, strict=True)
            divided = [_Task(Range(begin, end), task.depth + 1, fingerprint) for begin, (end, fingerprint) in parts]
            self._tasks += reversed(divided)

    def _take_envelopes(self, packet: Envelopes) -> tuple[bytes, ...]:
        for raw in packet.raws:
            if self._fetching.pop(keccak256(raw), None) is None:
                raise self._broken("an envelope came that was not asked for")
        if packet.final:
            self.missing += self._fetching.values()
            self._fetching = {}
            if len(self.missing) > MAX_MISSING:
                raise self._broken(f"{len(self.missing)} envelopes were listed and did not come")
        elif not packet.raws:
            raise self._broken("a packet without envelopes came")
        elif not self._fetching:
            raise self._broken("all envelopes came, but not the end")
        return packet.raws

    def _broken(self, what: str) -> SyncError:
        self._fail(what)
        return SyncError(what)

    def _fail(self, what: str) -> None:
        self.failure = what
        self._asked, self._tasks, self._wanted, self._fetching = [], [], [], {}
