"""What a docstring tells a model about a function, in Google's, numpy's or Sphinx's style."""

import inspect
import re
import textwrap
from typing import NamedTuple

from docstring_parser import Docstring as ParsedDocstring
from docstring_parser import ParseError, google, numpydoc, rest

_ARGUMENTS = ("Args", "Arguments", "Parameters", "Params")
# As prose, since the parser refuses the whole docstring for one line of ``Raises:`` with no colon.
_PROSE = (
    *("Return", "Returns", "Yield", "Yields", "Raises", "Attributes", "Example", "Examples"),
    *("Note", "Notes", "Warning", "Warnings", "References", "See Also", "Todo"),
)
_GOOGLE = google.GoogleParser(
    [
        *(google.Section(name, "param", google.SectionType.MULTIPLE) for name in _ARGUMENTS),
        *(google.Section(name, "examples", google.SectionType.SINGULAR) for name in _PROSE),
    ]
)
_TITLE = re.compile(rf"(?:{'|'.join((*_ARGUMENTS, *_PROSE))}):[ \t]*$", re.MULTILINE)
# Other lines that begin with a colon are roles, such as :class:`Path`.
_FIELD = re.compile(
    r"^:(?:param|parameter|arg|argument|key|keyword|type|returns?|rtype|raises?|yields?)\b.*?:",
    re.MULTILINE,
)


class Docstring(NamedTuple):
    """The description of a function and of each of its arguments."""

    description: str
    arguments: dict[str, str]


def read_docstring(text: str | None) -> Docstring:
    r"""Split a docstring into its description and its arguments' descriptions.

    Google's and numpy's sections are read, and Sphinx's fields (``:param name: ...``). The
    description is everything before the first of them. The lines of an argument's description are
    joined by spaces. Where the arguments cannot be read, there are none.

    Example:
        >>> read_docstring("Add.\n\nArgs:\n    a: One.\n    b (int): Another\n        one.")
        Docstring(description='Add.', arguments={'a': 'One.', 'b': 'Another one.'})
    """
    parsed = _parsed(inspect.cleandoc(text or ""))
    arguments = {}
    for parameter in parsed.params:
        if parameter.args[0] != "attribute":
            for name in parameter.arg_name.split(","):
                described = " ".join((parameter.description or "").split())
                arguments[name.strip().lstrip("\\*")] = described
    return Docstring((parsed.description or "").strip(), arguments)


def _parsed(text: str) -> ParsedDocstring:
    """The docstring as the style reads it that finds the most arguments, then sections, in it."""
    first, _, others = text.partition("\n")
    if _TITLE.match(first) and not others.startswith((" ", "\t")):
        # Cleaning takes the indentation of a docstring's only section away.
        text = f"{first}\n{textwrap.indent(others, '    ')}"
    # The parsers clean the text once more, which an empty first line makes harmless.
    text = f"\n{text}"
    readings = [numpydoc.parse(text)]
    if field := _FIELD.search(text):
        fields = rest.parse("\n" + text[field.start() :])
        fields.short_description = text[: field.start()]
        readings.append(fields)
    try:
        readings.append(_GOOGLE.parse(text))
    except ParseError:
        title = _TITLE.search(text)
        readings.append(numpydoc.parse(text[: title.start()] if title else text))
    return max(reversed(readings), key=lambda reading: (len(reading.params), len(reading.meta)))
