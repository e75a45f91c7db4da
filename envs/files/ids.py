"""Ids in data files: who or what a record is about, as one text however the file writes it."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

AN_ID = "a text or a whole number"
"""What an id is, for messages."""

# From here on a float leaves out whole numbers, so that two ids could have become one.
_EXACT_BELOW = 2**53
_WHOLE = re.compile(r"(-?(?:0|[1-9]\d*))\.0+")
# As spreadsheets write long numbers, without their last digits.
_ROUNDED = re.compile(r"-?\d\.\d+[eE]\+\d+")


def as_id(value: Any) -> str | None:
    """An id as a text; None for what is none.

    A whole number is one id in every writing: ``7`` and ``7.0`` in JSON or in a column, and
    ``"7"``. ``"007"`` is another. White space around an id does not count. None are other numbers,
    numbers that have lost digits (``1.23457E+11``, a float above 2**53), blank texts, and
    everything else.

    Example:
        >>> [as_id(value) for value in (7, 7.0, "7", " 7.0", "007", 7.5, True, "")]
        ['7', '7', '7', '7', '007', None, None, None]
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_BELOW:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return None
    text = value.strip()
    if whole := _WHOLE.fullmatch(text):
        return whole[1]
    return None if not text or _ROUNDED.fullmatch(text) else text


def _checked(value: Any) -> str:
    name = as_id(value)
    if name is None:
        raise PydanticCustomError("id", f"Input should be {AN_ID}")
    return name


def _checked_if_any(value: Any) -> str:
    return "" if value is None or value == "" else _checked(value)


Id = Annotated[str, BeforeValidator(_checked)]
"""A field that holds an id."""
OptionalId = Annotated[str, BeforeValidator(_checked_if_any)]
"""A field that may hold an id; "" where it holds none."""
