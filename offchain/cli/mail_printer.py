"""What `waypost mail fetch|fill|follow` print, from the lines that `offchain.web.views.mail_event` makes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from offchain.cli.output import Output

PROGRESS_INTERVAL = 2.0
"""Seconds between remarks on how far a reading has come."""

MAX_SHOWN = 100_000
"""Messages remembered as shown while following; older ones than those are not delivered again."""

Line = Mapping[str, Any]


class Printer:
    """Prints what readings yield: messages as they come, or one document at the end."""

    def __init__(self, output: Output, *, stream: bool, clock: Callable[[], float] = time.monotonic) -> None:
        """With `stream` and JSON, every line is printed as it comes."""
        self._output = output
        self._stream = stream
        self._clock = clock
        self._messages: list[Line] = []
        self._shown = self._unopened = 0
        self._envelopes = 0
        self._told_at = clock()
        self._done: dict[str, Any] | None = None
        self._checked: Line | None = None
        self._recent: dict[str, None] = {}

    def take(self, line: Line) -> None:
        """One line."""
        if "message" in line and self._is_repeated(line["message"]):
            return
        if self._stream and self._output.as_json and line:
            self._output.event(dict(line), "")
        if "message" in line:
            self._message(line["message"])
        elif "done" in line:
            self._end(line["done"])
        elif "progress" in line:
            self._progress(line["progress"])
        elif "notice" in line:
            self._output.note(line["notice"])
        elif "checked" in line:
            self._checked = line["checked"]

    def finish(self) -> bool:
        """Print what remains; whether everything was read to its end."""
        done = self._done or {"complete": False, "reason": "the fetch ended early", "servers": [], "cursor": None}
        complete = bool(done["complete"])
        if self._output.as_json:
            if not self._stream:
                checked = {} if self._checked is None else {"checked": self._checked}
                self._output.answer({**done, **checked, "messages": self._messages}, "")
            return complete
        self._count()
        if not complete:
            self._output.note(f"not everything could be read: {done['reason']}")
            if done["cursor"]:
                self._output.note(f"continue with: --cursor {done['cursor']}")
        if self._checked is not None:
            self._verdict(self._checked)
        return complete

    def leave(self) -> None:
        """Following ended."""
        if not self._output.as_json:
            self._count()

    @property
    def checked(self) -> Line | None:
        """What came of a cross-check."""
        return self._checked

    def _end(self, done: Line) -> None:
        """One of the readings ended; what is said at the end is of all of them."""
        before = self._done or {"envelopes": 0, "pages": 0, "servers": []}
        sums = {name: before[name] + done.get(name, 0) for name in ("envelopes", "pages")}
        self._done = {**done, **sums, "servers": list(dict.fromkeys([*before["servers"], *done["servers"]]))}

    def _is_repeated(self, message: Line) -> bool:
        """Whether it was shown before, on a connection that broke."""
        digest = message.get("hash")
        if digest is None:
            return False
        if digest in self._recent:
            return True
        self._recent[digest] = None
        if len(self._recent) > MAX_SHOWN:
            del self._recent[next(iter(self._recent))]
        return False

    def _count(self) -> None:
        note = f"{self._shown:,} messages"
        if self._unopened:
            note += f", {self._unopened:,} more that none of your keys opens"
        self._output.note(note)

    def _verdict(self, checked: Line) -> None:
        first, second = (", ".join(each[:10] + ".." for each in checked[side]) for side in ("first", "second"))
        if not checked["compared"]:
            self._output.note(checked["reason"])
        elif checked["withheld"]:
            count = len(checked["withheld"])
            self._output.note(f"{count:,} envelopes that {second} has were withheld by {first}, or never reached it")
        else:
            self._output.note(f"compared with {second}: {first} withheld nothing")
        if checked["lacked"]:
            self._output.note(f"{second} lacks {checked['lacked']:,} envelopes that {first} has")

    def _progress(self, event: Line) -> None:
        if event["what"] == "failed":
            self._output.note(f"server {event['nodeId'][:10]}.. failed: {event['reason']}; going on with another")
        elif event["what"] == "overtaken":
            self._output.note(f"server {event['nodeId'][:10]}.. was slow: {event['by'][:10]}.. goes on")
        elif event["what"] == "waiting":
            self._output.note(event["reason"])
        elif event["what"] == "page":
            self._envelopes += event["envelopes"]
            if self._clock() - self._told_at >= PROGRESS_INTERVAL:
                self._told_at = self._clock()
                self._output.note(f"{self._envelopes:,} envelopes so far")

    def _message(self, message: Line) -> None:
        if self._output.as_json:
            if not self._stream:
                self._messages.append(message)
            return
        if not message["opened"]:
            self._unopened += 1
            return
        self._shown += 1
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(message["sent"]))
        signer = message["signer"][:10] + ".." if message["signer"] else "unsigned"
        text = message["text"] if message["text"] is not None else message["payload"]
        self._output.event({}, f"{when}  {signer}  {printable(text)}")


def printable(text: str) -> str:
    """A message as a terminal may show it: a stranger wrote it, so no control characters."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
