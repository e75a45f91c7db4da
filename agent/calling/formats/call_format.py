"""What a call format is: the text around a call, how its arguments are written, how it is found."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol

from ....errors import TrimtabError
from ..lenient_json import Unreadable
from ..tool_call import ToolCall
from .json_calls import calls_in, read_objects
from .value_rules import Rules

Schemas = Mapping[str, Mapping[str, Any]]
"""The JSON Schema of each tool's object of arguments, by the tool's name."""

NAME = r"[^\s<>{}\[\]()\"'`,;=]+"
"""A tool's name where no quotes stand around it."""


class Arguments(Protocol):
    """How a format writes a call's arguments."""

    def write(self, arguments: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
        """The arguments as text; ``schema`` is that of their object, empty if it is unknown."""
        ...

    def read(self, text: str, at: int, schema: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """The arguments that start at ``at``, and where they end.

        Raises:
            Unreadable: There are none.
        """
        ...

    def rules(self, schema: Mapping[str, Any], rules: Rules) -> str:
        """Add the grammar of arguments that fit a narrowed schema; returns its rule's name.

        Raises:
            TrimtabError: Arguments of this schema cannot be held to it in this format.
        """
        ...


class Reading(NamedTuple):
    """Calls that were read from a text, and where they end in it."""

    calls: tuple[tuple[str, dict[str, Any]], ...]
    end: int


@dataclass(frozen=True)
class CallFormat:
    """One form in which models write tool calls. All texts are literal, the patterns regular.

    A message of calls is ``opening``, then for each call ``before``, its name, ``between``, its
    arguments and ``after``, with ``separator`` between two calls, then ``closing``. ``{number}``
    in ``between`` stands for the call's number in its message.

    Attributes:
        name: Of the format.
        models: The families that are taught it, for people.
        arguments: How arguments are written.
        head: Matches from where a call begins to where its arguments do, with the group ``name``.
            Where ``named_inside``, up to where the JSON object or list begins, and no group.
        tail: Matches what may follow the arguments.
        bare: Text like that of ``head`` may be no call, so it is one only where an answer starts.
        named_inside: The call is one JSON object, and the name a member of it.
        parallel: Whether a message may hold several calls.
        mark: What an answer with a call shows first; empty where there is no mark.
        marks: All texts that a tokenizer may have a token of its own for.
        text_opening: What stands in front of plain text.
    """

    name: str
    models: str
    arguments: Arguments
    head: str
    tail: str = ""
    opening: str = ""
    before: str = ""
    between: str = ""
    after: str = ""
    separator: str = ""
    closing: str = ""
    bare: bool = False
    named_inside: bool = False
    parallel: bool = True
    mark: str = ""
    marks: tuple[str, ...] = ()
    text_opening: str = ""

    @cached_property
    def start(self) -> re.Pattern[str]:
        """Matches where a call starts."""
        return re.compile(self.head)

    @cached_property
    def _tail(self) -> re.Pattern[str]:
        return re.compile(self.tail)

    def write(self, calls: Sequence[ToolCall], schemas: Schemas | None = None) -> str:
        """Calls as one text.

        Args:
            calls: At least one.
            schemas: Of the tools' arguments, as far as they are known; ``read`` needs the same.

        Raises:
            TrimtabError: A tool's name cannot be written in this format.
        """
        known = schemas or {}
        written = [
            "".join(
                (
                    self.before,
                    self.written_name(call.name),
                    self.between.replace("{number}", str(number)),
                    self.arguments.write(call.arguments, known.get(call.name) or {}),
                    self.after,
                )
            )
            for number, call in enumerate(calls)
        ]
        return self.opening + self.separator.join(written) + self.closing

    def written_name(self, name: str) -> str:
        """The name of a tool as a call holds it.

        Raises:
            TrimtabError: This format cannot hold it.
        """
        if self.named_inside:
            return json.dumps(name, ensure_ascii=False)
        if re.fullmatch(NAME, name):
            return name
        raise TrimtabError(
            f"the tool name {name!r} cannot be written in the call format {self.name}; expected "
            "a name of letters, digits, dots, colons, dashes and underscores"
        )

    def read(self, text: str, match: re.Match[str], schemas: Schemas) -> Reading | None:
        """The calls that begin at a match of ``start``; None where it turns out to be no call."""
        if self.named_inside:
            values, end = read_objects(text, match.end(), self.after.strip("\n}"))
            calls = tuple(call for value in values for call in calls_in(value))
            if not calls:
                return None
        else:
            name = match["name"]
            schema = schemas.get(name) or {}
            try:
                arguments, end = self.arguments.read(text, match.end(), schema)
            except Unreadable:
                return None
            calls = ((name, arguments),)
        tail = self._tail.match(text, end)
        return Reading(calls, tail.end() if tail else end)
