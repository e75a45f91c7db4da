"""Scores of function calls, by the rules of BFCL's checker: each case worked out by hand."""

import itertools

import pytest

from trimtab.agent.calling.calls import ToolCall
from trimtab.envs.bfcl.cases import CallCase, ExpectedCall
from trimtab.eval.calls.scoring import schema_valid, score_calls
from trimtab.tools import Toolkit, ToolSpec

TOOLS = Toolkit(
    [
        ToolSpec(
            "plan",
            "Plan.",
            {
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "days": {"type": "integer"},
                    "budget": {"type": "number"},
                    "mode": {"type": "string", "enum": ["air", "sea"]},
                    "guide": {"type": "boolean"},
                    "stops": {"type": "array", "items": {"type": "string"}},
                    "grid": {"type": "array", "items": {"type": "array"}},
                    "filter": {"type": "object"},
                    "rules": {"type": "array", "items": {"type": "object"}},
                    "any": {},
                    "spare": {"type": "string"},
                },
                "required": ["city"],
            },
        ),
        ToolSpec("other", "Other.", {"type": "object", "properties": {"n": {"type": "integer"}}}),
    ]
)


def asked(*expected, wanted="calls"):
    return CallCase("c", "simple", (), TOOLS, wanted, expected)


def plan(**arguments):
    return ToolCall("plan", {"city": "Oslo", **arguments})


def score(arguments, acceptable, exact=False):
    expected = ExpectedCall("plan", {"city": ["Oslo"], **acceptable})
    return score_calls([plan(**arguments)], asked(expected), exact=exact)


RIGHT = [
    ({"city": "Oslo"}, {}),
    ({"city": "o-s l_o."}, {}),
    ({"days": 3}, {"days": [2, 3]}),
    ({}, {"days": [3, ""]}),
    ({"budget": 5}, {"budget": [5.0]}),
    ({"budget": 5.5}, {"budget": [5.5]}),
    ({"mode": "Air"}, {"mode": ["air"]}),
    ({"guide": False}, {"guide": [False]}),
    ({"stops": ["New-York", "paris"]}, {"stops": [["Rome"], ["new york", "Paris"]]}),
    ({"stops": []}, {"stops": [[]]}),
    ({"grid": [[1, 2], [3]]}, {"grid": [[[1, 2], [3]]]}),
    ({"filter": {"a": "X", "b": 2}}, {"filter": [{"a": ["x", "y"], "b": [1, 2], "c": ["", 4]}]}),
    ({"rules": [{"f": "a"}, {"f": "b"}]}, {"rules": [[{"f": ["a"]}, {"f": ["b"]}]]}),
    ({"any": "My data"}, {"any": ["my_data"]}),
    ({"any": [1]}, {"any": [[1]]}),
    ({"spare": True}, {"spare": [True]}),  # what is right is of another type than declared
    ({"city": "rock 'n' roll"}, {"city": ['rock "n" roll']}),
]
WRONG = [
    ({"days": 4}, {"days": [3]}, "wrong value"),
    ({"days": 3.0}, {"days": [3]}, "wrong type"),
    ({"days": "3"}, {"days": [3]}, "wrong type"),
    ({"days": True}, {"days": [1]}, "wrong type"),
    ({"budget": "5"}, {"budget": [5.0]}, "wrong type"),
    ({"guide": 1}, {"guide": [True]}, "wrong type"),
    ({"mode": "rail"}, {"mode": ["air"]}, "not in enum"),
    ({"mode": "sea"}, {"mode": ["air"]}, "wrong value"),
    ({"stops": ["b", "a"]}, {"stops": [["a", "b"]]}, "wrong value"),
    ({"stops": ["a"]}, {"stops": [["a", "b"]]}, "wrong value"),
    ({"stops": "a"}, {"stops": [["a"]]}, "wrong type"),
    ({"stops": [1]}, {"stops": [["1"]]}, "wrong type"),
    ({"filter": {"a": "x", "d": 1}}, {"filter": [{"a": ["x"]}]}, "wrong value"),
    ({"filter": {}}, {"filter": [{"a": ["x"]}]}, "wrong value"),
    ({"rules": [{"f": "b"}]}, {"rules": [[{"f": ["a"]}]]}, "wrong value"),
    ({}, {"days": [3]}, "missing"),
    ({"spare": "x"}, {}, "hallucinated"),
    ({"invented": 1}, {}, "hallucinated"),
]


@pytest.mark.parametrize(("arguments", "acceptable"), RIGHT)
def test_right_calls(arguments, acceptable):
    assert score(arguments, acceptable).correct


@pytest.mark.parametrize(("arguments", "acceptable", "kind"), WRONG)
def test_wrong_arguments_have_a_class(arguments, acceptable, kind):
    made = score(arguments, acceptable)
    assert not made.correct and not made.problem and made.right_tools
    [fault] = made.faults
    assert fault.kind == kind
    assert fault.argument in {*arguments, *acceptable}


def test_a_required_argument_is_missed_even_where_the_answers_let_it_be_left_out():
    expected = ExpectedCall("plan", {"city": ["Oslo", ""]})
    [fault] = score_calls([ToolCall("plan", {})], asked(expected)).faults
    assert (fault.kind, fault.argument) == ("missing", "city")


def test_every_fault_of_a_call_is_told():
    made = score({"days": "x", "mode": "rail", "new": 1}, {"days": [3], "mode": ["air"]})
    assert sorted(fault.kind for fault in made.faults) == [
        "hallucinated", "not in enum", "wrong type"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "right"),
    [
        ({"city": "Oslo", "days": 3}, True),
        ({"city": "oslo", "days": 3}, False),
        ({"city": "Oslo", "days": 3, "stops": ["a "]}, False),
        ({"city": "Oslo", "days": 3, "stops": ["a"]}, True),
    ],
)
def test_exact_takes_strings_letter_by_letter(arguments, right):
    made = score(arguments, {"days": [3], "stops": [["a"], ""]}, exact=True)
    assert made.correct == right


FIRST, SECOND, THIRD = (
    ExpectedCall("plan", {"city": ["Oslo"], "days": [1, 2]}),
    ExpectedCall("plan", {"city": ["Oslo"], "days": [1]}),
    ExpectedCall("other", {"n": [3]}),
)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_parallel_calls_come_in_any_order(order):
    # Taking the first that fits would leave the call with 2 days to the expected one of 1 day.
    calls = [plan(days=1), plan(days=2), ToolCall("other", {"n": 3})]
    made = score_calls([calls[n] for n in order], asked(SECOND, FIRST, THIRD))
    assert made.correct
    assert score_calls([calls[n] for n in order], asked(FIRST, SECOND, THIRD)).correct


def test_of_parallel_calls_the_wrong_one_is_told():
    made = score_calls([plan(days=7), plan(days=1)], asked(FIRST, SECOND))
    [fault] = made.faults
    assert (fault.kind, fault.got) == ("wrong value", "7")


@pytest.mark.parametrize(
    ("calls", "case", "problem", "right_tools"),
    [
        ([], asked(FIRST), "no call", False),
        ([ToolCall("other", {"n": 3})], asked(FIRST), "wrong tool", False),
        ([ToolCall("gone")], asked(FIRST), "wrong tool", False),
        ([plan(days=1), plan(days=1)], asked(FIRST), "wrong count", False),
        ([plan(days=1)], asked(FIRST, SECOND), "wrong count", False),
        ([ToolCall("gone")], asked(wanted="no call"), "unwanted call", False),
        ([], asked(wanted="no call"), "", True),
        ([ToolCall("gone")], asked(wanted="any call"), "", True),
        ([], asked(wanted="any call"), "no call", False),
    ],
)
def test_what_is_wrong_with_calls_as_such(calls, case, problem, right_tools):
    made = score_calls(calls, case)
    assert (made.problem, made.right_tools) == (problem, right_tools)
    assert made.correct == (not problem)


def test_many_calls_are_matched_in_reasonable_time():
    calls = [plan(days=n) for n in range(40)]
    expected = [ExpectedCall("plan", {"city": ["Oslo"], "days": [n]}) for n in range(8)]
    made = score_calls(calls, asked(*expected))
    assert (made.problem, made.faults) == ("wrong count", ())


def test_schema_validity_is_of_all_calls_or_unknown():
    assert schema_valid([], TOOLS) is None
    assert schema_valid([plan(), ToolCall("other", {"n": 1})], TOOLS)
    assert not schema_valid([plan(), ToolCall("other", {"n": "1"})], TOOLS)
    assert not schema_valid([ToolCall("gone")], TOOLS)
