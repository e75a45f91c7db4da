"""An answer that comes in pieces: plain text at once, a tool call as its parts are certain.

What is passed on adds up to the message that ``to_message`` makes of the whole answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from langchain_core.messages import AIMessage

from ...steering.prompts.marks import THOUGHTS
from ..calling.calls import CALL_CLOSE, CALL_OPEN, parse_calls
from ..calling.formats.call_format import CallFormat
from ..calling.formats.json_calls import read_objects
from ..calling.formats.table import HERMES, formats
from ..calling.lenient_json import Unreadable, read_strictly
from .messages import Answer, before_any

_HEAD = re.compile(
    r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\{)', re.DOTALL
)
# What an answer that is a call without marks begins with, and a call in a code fence.
_BARE = ("{", "[")
_FENCE = re.compile(r"```[a-z]*\s*")
_CLOSING = {marks.opening: marks.closing for marks in THOUGHTS}


class Delta(NamedTuple):
    """A part of an answer: text, or a part of the call with this number.

    The first part of a call has its name, later ones pieces of its arguments as JSON text.
    """

    text: str = ""
    call: int | None = None
    name: str | None = None
    arguments: str = ""


class AnswerReader:
    """Tells the parts of an answer apart as its pieces come in.

    Args:
        answer: What the answer is read as.
        strict: The answer is decoded under a grammar, so a call's arguments can be passed on as
            they come. Otherwise a call is passed on when it is whole.
        stop: Texts that end the text of an answer; calls are not cut by them.
        call_format: The form of calls that the model is taught. Calls in Hermes form are passed on
            as they come, those in others when the answer is whole.
    """

    def __init__(
        self,
        answer: Answer,
        *,
        strict: bool,
        stop: Sequence[str] = (),
        call_format: CallFormat = HERMES,
    ) -> None:
        self._strict = strict
        self._own = call_format is HERMES
        known = [call_format, *formats()]
        # The marks of calls and thoughts; what follows one may be no text.
        self._marks = tuple(dict.fromkeys([CALL_OPEN, *(f.mark for f in known if f.mark)]))
        self._shown = ""
        self._thought_over = False
        self._plain = answer == "text"
        self._stop = stop
        self._stopped = False
        self._state: Literal["start", "text", "call", "arguments", "after", "held"] = "start"
        if call_format.text_opening:
            self._state = "held"  # what is text is only known when its channel is
        self._rest = ""  # what came and is not passed on yet
        self._gap = ""  # the space in front of the first call
        self._calls = 0
        self._depth = 0
        self._in_string = self._escaped = False

    def feed(self, piece: str) -> Iterator[Delta]:
        """The parts that are certain with this piece."""
        if self._plain:
            yield Delta(text=piece)
            return
        self._rest += piece
        before = None
        while before != (self._state, self._rest):
            before = (self._state, self._rest)
            yield from self._read()

    def finish(self, whole: AIMessage) -> Iterator[Delta]:
        """What is left when the answer has ended.

        Args:
            whole: The message that was made of the whole answer.
        """
        if self._plain:
            return
        if self._state == "arguments":
            return  # the answer was cut in a call that is under way
        if not self._calls and whole.text.startswith(self._shown):
            yield from self._text(whole.text[len(self._shown) :])
        if self._state != "after":
            for number, call in enumerate(whole.tool_calls[self._calls :], self._calls):
                yield from _call(number, call["name"], json.dumps(call["args"]))

    def _read(self) -> Iterator[Delta]:
        if self._state == "start" and self._rest.strip():
            self._start()
        elif self._state == "text":
            yield from self._read_text()
        elif self._state == "call":
            yield from self._read_call()
        elif self._state == "arguments":
            yield from self._read_arguments()
        elif self._state == "after" and CALL_OPEN in self._rest:
            self._rest = self._rest.partition(CALL_OPEN)[2]
            self._state = "call"

    def _start(self) -> None:
        """Tell what an answer begins with; a thought is left out."""
        begun = self._rest.lstrip()
        opening = next((mark for mark in _CLOSING if begun.startswith(mark)), None)
        if opening is not None:
            closing = _CLOSING[opening]
            if closing in begun:
                self._rest = begun.partition(closing)[2].lstrip("\n")
                self._thought_over = True
        elif not any(mark.startswith(begun) for mark in _CLOSING):
            if self._thought_over:
                self._rest = self._rest.lstrip("\n")
            self._state = "held" if begun.startswith(_BARE) else "text"

    def _read_text(self) -> Iterator[Delta]:
        found = [(self._rest.find(mark), mark) for mark in (*self._marks, *_CLOSING)]
        found = [(at, mark) for at, mark in found if at >= 0]
        if found:
            at, mark = min(found, key=lambda one: one[0])
            text = self._rest[:at]
            yield from self._text(text.rstrip())
            self._gap = text[len(text.rstrip()) :]
            if self._own and mark == CALL_OPEN:
                self._rest, self._state = self._rest[at + len(mark) :], "call"
            else:
                self._rest, self._state = self._rest[at:], "held"
            return
        text = self._rest
        fence = text.find("```")
        if fence >= 0:
            yield from self._before_fence(text, fence)
            return
        # A mark or a stop text may have begun, and space before a mark is no part of the text.
        marks = (*self._marks, *_CLOSING, "```", *self._stop)
        held = max(_begun(text, known) for known in marks)
        ready = text[: len(text) - held].rstrip()
        yield from self._text(ready)
        self._rest = text[len(ready) :]

    def _before_fence(self, text: str, fence: int) -> Iterator[Delta]:
        """The text up to a code fence, and on unless JSON comes in it: that may be a call."""
        opening = _FENCE.match(text, fence)
        assert opening is not None
        inside = text[opening.end() :]
        end = opening.end() if inside and not inside.startswith(_BARE) else fence
        ready = text[:end] if end > fence else text[:fence].rstrip()
        yield from self._text(ready)
        self._rest = text[len(ready) :]
        if inside.startswith(_BARE):
            self._state = "held"

    def _read_call(self) -> Iterator[Delta]:
        head = _HEAD.match(self._rest) if self._strict else None
        if head:
            yield Delta(call=self._calls, name=json.loads(head[1]))
            self._rest, self._state = self._rest[head.end() :], "arguments"
        elif CALL_CLOSE in self._rest:
            end = self._end_of_call()
            if end >= 0:
                block, self._rest = self._rest[:end], self._rest[end + len(CALL_CLOSE) :]
                yield from self._whole_calls(block)
                self._state = "after"

    def _end_of_call(self) -> int:
        """Where the mark stands that closes a call; -1 where it is not certain."""
        start = len(self._rest) - len(self._rest.lstrip())
        if not self._rest.startswith(("{", "["), start):
            return self._rest.find(CALL_CLOSE)
        try:  # the mark may stand in an argument
            read_strictly(self._rest, start)
        except Unreadable:
            return -1
        return self._rest.find(CALL_CLOSE, read_objects(self._rest, start, CALL_CLOSE)[1])

    def _read_arguments(self) -> Iterator[Delta]:
        for at, character in enumerate(self._rest, 1):
            if self._ends_with(character):
                yield Delta(call=self._calls, arguments=self._rest[:at])
                self._rest, self._state = self._rest[at:], "after"
                self._calls += 1
                return
        if self._rest:
            yield Delta(call=self._calls, arguments=self._rest)
            self._rest = ""

    def _ends_with(self, character: str) -> bool:
        """Whether the object of arguments is closed by its next character."""
        if self._in_string:
            if self._escaped:
                self._escaped = False
            elif character == "\\":
                self._escaped = True
            else:
                self._in_string = character != '"'
        elif character == '"':
            self._in_string = True
        else:
            self._depth += (character in "{[") - (character in "}]")
        return self._depth == 0

    def _whole_calls(self, block: str) -> Iterator[Delta]:
        for call in parse_calls(f"{CALL_OPEN}{block}{CALL_CLOSE}"):
            yield from _call(self._calls, call.name, json.dumps(call.arguments))
            self._calls += 1

    def _text(self, text: str) -> Iterator[Delta]:
        shown = "" if self._stopped else before_any(text, self._stop)
        self._stopped |= shown != text
        if shown:
            self._shown += shown
            yield Delta(text=shown)


def _call(number: int, name: str, arguments: str) -> Iterator[Delta]:
    yield Delta(call=number, name=name)
    yield Delta(call=number, arguments=arguments)


def _begun(text: str, known: str) -> int:
    """How many of the last characters of a text may be the first ones of ``known``."""
    longest = min(len(known) - 1, len(text))
    return next(n for n in range(longest, -1, -1) if text.endswith(known[:n]))
