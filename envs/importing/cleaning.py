"""Raw values of a shop's log made clean: text without markup, prices, times, ids."""

import ast
import html
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from ...tools.quoting import without_invisible
from ..files.ids import as_id

# What is between these tags is no text; the tags and what stands in them go as well.
_CODE = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|$)", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<(?:/?[a-z][^<>]*|!--.*?--|![a-z][^<>]*)>", re.IGNORECASE | re.DOTALL)
_CUT_TAG = re.compile(r"</?[a-z][a-z0-9]*(?:\s+[^<>]*)?$", re.IGNORECASE)
_ALT = re.compile(r"""<img\b[^>]*\balt\s*=\s*(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
# Code of the page that was read as text, found in many records of the 2018 release.
_PAGE_CODE = re.compile(r"var aPageStart|getTime\(\)|\.a-box-inner|P\.when\(|function\s*\(")
_AMOUNT = r"(\d[\d.,]*)"
_PRICE = re.compile(
    rf"(?:from\s+)?(?:[A-Z]{{2,3}})?\s*[^\w\s.,-]?\s*{_AMOUNT}\s*(?:[A-Z]{{3}}|[^\w\s])?"
    rf"(?:\s*(?:-|–|to)\s*(?:[A-Z]{{2,3}})?\s*[^\w\s.,-]?\s*{_AMOUNT}\s*(?:[A-Z]{{3}}|[^\w\s])?)?",
    re.IGNORECASE,
)
_WITH_POINT = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?")
_WITH_COMMA = re.compile(r"(?:\d{1,3}(?:\.\d{3})+|\d+),\d{1,2}")
_ID_CHARACTERS = 64
# A time above this in seconds would be after the year 5000, in milliseconds it is 1973.
MILLISECONDS_FROM = 100_000_000_000
_DATE_FORMS = ("%m %d, %Y", "%B %d, %Y", "%b %d, %Y", "%m/%d/%Y", "%Y/%m/%d")


def clean_text(value: Any) -> str:
    """Text without HTML tags and entities, its white space made single spaces.

    An image that stands alone gives its alternative text. Code of the page gives nothing. A ``<``
    that opens no tag stays: ``<3``.

    Example:
        >>> clean_text("<b>Dad&#39;s</b>   mug <br/>I <3 it")
        "Dad's mug I <3 it"
    """
    if value is None or isinstance(value, list | dict | bool):
        return ""
    text = str(value)
    if "&" in text:
        text = html.unescape(html.unescape(text))
    if "<" in text:
        alternative = _ALT.search(text)
        text = _CUT_TAG.sub(" ", _TAG.sub(" ", _CODE.sub(" ", text)))
        if alternative and not text.strip():
            text = alternative.group(1) or alternative.group(2) or ""
    if _PAGE_CODE.search(text):
        return ""
    return " ".join(without_invisible(text).split())


def clean_texts(value: Any) -> list[str]:
    """A list of clean texts, from a list, a JSON list in a string, or a text; no empty ones."""
    texts = (clean_text(item) for item in _flat(_unpacked(value)))
    return list(dict.fromkeys(text for text in texts if text))


def _flat(value: Any) -> Iterator[Any]:
    """What a list holds, and the lists in it: the 2014 release has paths of categories."""
    if isinstance(value, list):
        for item in value:
            yield from _flat(item)
    else:
        yield value


def clean_details(value: Any) -> dict[str, str]:
    """Details by name; names without their colon, no product ids, no empty ones.

    A detail that is not one value is written as JSON.
    """
    value = _unpacked(value)
    if not isinstance(value, Mapping):
        text = clean_text(value)
        return {"Details": text} if text else {}
    details = {}
    for key, detail in value.items():
        name = clean_text(key).rstrip(": ")
        flat = json.dumps(detail) if isinstance(detail, list | dict) and detail else detail
        text = clean_text(flat).rstrip("(,;: ")
        if name and text and name.upper() != "ASIN":
            details[name] = text
    return details


def _unpacked(value: Any) -> Any:
    """A list or an object that came as JSON in a string, as in a column of CSV."""
    if isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
        try:
            return json.loads(value)
        except ValueError:
            return _literal(value)
    return value


def _literal(text: str) -> Any:
    """A list or an object as Python writes it, which other tools make of one in a column."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def clean_price(value: Any) -> float | None:
    """A price above 0, of a range the lower end; None where there is none.

    Example:
        >>> clean_price("$25.00 - $1,100.00"), clean_price("see cart")
        (25.0, None)
    """
    number = clean_number(value)
    if number is None and isinstance(value, str):
        match = _PRICE.fullmatch(clean_text(value))
        number = _amount(match.group(1)) if match else None
    return number if number is not None and number > 0 else None


def _amount(text: str) -> float | None:
    """``1,299.00`` and ``1.299,00`` alike."""
    text = text.rstrip(".,")
    if _WITH_POINT.fullmatch(text):
        return float(text.replace(",", ""))
    if _WITH_COMMA.fullmatch(text):
        return float(text.replace(".", "").replace(",", "."))
    return None


def clean_number(value: Any) -> float | None:
    """A finite number, also one in a string; None where there is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def clean_time(value: Any) -> int | None:
    """Milliseconds since 1970, from seconds, milliseconds or a date; None where there is none.

    Dates are ISO 8601, or like ``06 17, 2018`` and ``6/17/2018``; without a zone they are UTC.
    """
    number = clean_number(value)
    if number is not None:
        if number <= 0:
            return None
        return int(number if number >= MILLISECONDS_FROM else number * 1000)
    if not isinstance(value, str):
        return None
    text = value.strip()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moments = (_date(text, form) for form in _DATE_FORMS)
        first = next((moment for moment in moments if moment), None)
        if first is None:
            return None
        moment = first
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    time = int(moment.timestamp() * 1000)
    return time if time > 0 else None


def _date(text: str, form: str) -> datetime | None:
    try:
        return datetime.strptime(text, form).replace(tzinfo=UTC)
    except ValueError:
        return None


def clean_id(value: Any) -> str | None:
    """An id (see `as_id`) as one word, its white space made hyphens; None also if too long."""
    made = "-".join((as_id(value) or "").split())
    return made if 0 < len(made) <= _ID_CHARACTERS else None


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, for comparing."""
    return re.findall(r"[^\W_]+(?:['\u2019][^\W_]+)?", text.lower())


def first_value(record: Mapping[str, Any], names: Iterable[str]) -> Any:
    """What a record says under the first of several names that has a value."""
    return next((record[name] for name in names if record.get(name) not in (None, "")), None)
