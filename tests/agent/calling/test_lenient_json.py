"""What is well formed is read as written; what is not is repaired, or is no value at all."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.agent.calling.calls import parse_call
from trimtab.agent.calling.lenient_json import Unreadable, read_value, repaired
from trimtab.tools.toolkit import ToolError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab'é", max_size=4), inner),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(JSON)
def test_json_is_read_as_written(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        read, end = read_value(text + " and so on")
        assert (repr(read), end) == (repr(value), len(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{'a': 1, 'b': 1.0, 'c': '1', 'd': -2.5e3}", {"a": 1, "b": 1.0, "c": "1", "d": -2500.0}),
        ("{'a': True, 'b': None, 'c': 'True'}", {"a": True, "b": None, "c": "True"}),
        ("{'n': 12345678901234567890123, 'm': 1_000}", {"n": 12345678901234567890123, "m": 1000}),
        ("{'q': 'café ☕ 東京 \\u00e9'}", {"q": "café ☕ 東京 é"}),
        ("{'q': 'a</tool_call>b', 'n': 2}", {"q": "a</tool_call>b", "n": 2}),
        ("{'q': 'the cat's toy'}", {"q": "the cat's toy"}),
        ("{'code': 'd = {\"x\": 1}', 'n': (1, 2)}", {"code": 'd = {"x": 1}', "n": [1, 2]}),
        ('{"q": "He said: "yes", and left", "n": 1}', {"q": 'He said: "yes", and left', "n": 1}),
        ('{q: lamp shade, d: 2024-01-05, n: 3,}', {"q": "lamp shade", "d": "2024-01-05", "n": 3}),
        ('{"q": "5" screen"}', {"q": '5" screen'}),
        ('{q: ["5" screen", "it\'s "fine""], n: 1}', {"q": ['5" screen', 'it\'s "fine"'], "n": 1}),
        ('{"q": "cut o', {"q": "cut o"}),
    ],
)  # fmt: skip
def test_what_models_get_wrong_is_put_right(text: str, expected: dict[str, Any]) -> None:
    value, end = read_value(text)
    assert repr(value) == repr(expected)  # 1 and 1.0 and True are not the same
    assert end == len(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"at": 12:30}',  # json_repair makes 12 of it
        '{"price": $20}',
        '{"share": 20%}',
        '{q: lamp, under 20, n: 3}',  # one string with the n in it
        "{'q': 'a' 'b'}",
        '{"q": "x", "q": "y"',
        '{"q": 1, "n": ',  # an empty string
        "{'q': 'lamp' and then some prose. And more: 3",
    ],
)  # fmt: skip
def test_what_a_repair_would_change_is_no_value(text: str) -> None:
    with pytest.raises(Unreadable):
        read_value(text)
    call = f'{{"name": "search", "arguments": {text}}}'
    assert isinstance(parse_call(call), ToolError)


def test_a_repaired_value_ends_where_it_ends() -> None:
    assert repaired("{'a': 1}</tool_call>") == ({"a": 1}, 8)
    assert repaired("[{'a': 'b'}] and {'c': 2}") == ([{"a": "b"}], 12)
    assert read_value("  {'a': 1} x") == ({"a": 1}, 10)
