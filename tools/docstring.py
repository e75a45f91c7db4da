"""Google-style docstrings, read for what a model should be told about a function."""

import inspect
import re
from itertools import pairwise
from typing import NamedTuple

_SECTION = re.compile(
    r"(Args|Arguments|Parameters|Returns?|Yields?|Raises|Attributes|Examples?|Notes?|Warnings?|"
    r"References|See Also|Todo):\s*$"
)
_ARGUMENT = re.compile(r"\*{0,2}(?P<name>\w+)\s*(\([^)]*\))?:\s*(?P<text>.*)$")


class Docstring(NamedTuple):
    """The description of a function and of each of its arguments."""

    description: str
    arguments: dict[str, str]


def read_docstring(text: str | None) -> Docstring:
    r"""Split a Google-style docstring into its description and its arguments' descriptions.

    The description is everything before the first section. An argument's description may go on
    over indented lines, which are joined by spaces.

    Example:
        >>> read_docstring("Add.\n\nArgs:\n    a: One.\n    b (int): Another\n        one.")
        Docstring(description='Add.', arguments={'a': 'One.', 'b': 'Another one.'})
    """
    lines = inspect.cleandoc(text or "").splitlines()
    starts = [number for number, line in enumerate(lines) if _SECTION.match(line)]
    description = "\n".join(lines[: starts[0]] if starts else lines).strip()
    for start, end in pairwise([*starts, len(lines)]):
        if lines[start].startswith(("Args", "Arguments", "Parameters")):
            return Docstring(description, _arguments(lines[start + 1 : end]))
    return Docstring(description, {})


def _arguments(lines: list[str]) -> dict[str, str]:
    """Read the lines of an ``Args:`` section: least indented lines start an argument."""
    lines = [line for line in lines if line.strip()]
    indent = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    found: dict[str, str] = {}
    name = ""
    for line in lines:
        start = _ARGUMENT.match(line[indent:])
        if start:
            name = start["name"]
            found[name] = start["text"].strip()
        elif name:
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found
