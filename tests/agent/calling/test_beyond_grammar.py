"""What no grammar can say is left to the check of the call; the rest of the schema is held to."""

import json

import pytest
from llguidance import LLMatcher, LLTokenizer

from trimtab.agent import build_agent
from trimtab.agent.calling.beyond_grammar import reduced_schema
from trimtab.agent.calling.calls import ToolCall, call_grammar, format_call
from trimtab.agent.calling.formats.table import formats
from trimtab.agent.calling.grammar import json_grammar
from trimtab.errors import TrimtabError
from trimtab.tools import Toolkit, ToolSpec

BYTES = LLTokenizer("byte")
# As zod writes an address.
EMAIL = r"^(?!\.)(?!.*\.\.)([A-Za-z0-9_'+\-\.]*)[A-Za-z0-9_+-]@([A-Za-z0-9-]+\.)+[A-Za-z]{2,}$"
NUMBERS = {"type": "array", "items": {"type": "integer"}}
COUNTS = {"type": "object", "additionalProperties": {"type": "integer"}}


def tool(schema, *, required=("a",), definitions=None):
    parameters = {"type": "object", "properties": {"a": schema}, "required": list(required)}
    return ToolSpec("t", "Do it.", parameters | ({"$defs": definitions} if definitions else {}))


def writable(spec, arguments):
    matcher = LLMatcher(BYTES, call_grammar([spec.to_openai()]), log_level=0)
    text = format_call(ToolCall(spec.name, arguments)).encode()
    return bool(matcher.consume_tokens(list(text)) and matcher.is_accepting())


CASES = {
    # What is left to the check; a value that fits; one that fits but for that; one that never fits.
    "uniqueItems": (NUMBERS | {"uniqueItems": True}, [1, 2], [1, 1], ["x"]),
    "contains": (NUMBERS | {"contains": {"const": 7}}, [7], [1], ["x"]),
    "propertyNames": (
        COUNTS | {"propertyNames": {"maxLength": 2}},
        *({"ab": 1}, {"abc": 1}, {"a": ""}),
    ),
    "patternProperties": (
        {
            "type": "object",
            "patternProperties": {"^(?!x)[a-z]$": {"type": "integer"}},
            "additionalProperties": False,
        },
        *({"a": 1}, {"x": 1}, {"a": ""}),
    ),
    "not": ({"type": "string", "not": {"const": "no"}}, "yes", "no", 1),
    "if": (
        {"type": "string", "if": {"const": "a"}, "then": False},
        *("b", "a", 1),
    ),
    "dependentRequired": (
        {
            "type": "object",
            "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
            "dependentRequired": {"x": ["y"]},
        },
        *({"x": 1, "y": 2}, {"x": 1}, {"x": "1"}),
    ),
    "pattern": ({"type": "string", "pattern": "^(?!no)[a-z]+$"}, "yes", "no", 1),
}


@pytest.mark.parametrize("what", CASES)
def test_what_is_beyond_a_grammar_is_checked_with_the_call(what):
    schema, fits, fits_nearly, fits_never = CASES[what]
    spec = tool(schema)
    _, left_out = reduced_schema(spec.parameters)
    assert f"{what} of a" in left_out
    toolkit = Toolkit([spec])
    for value, may_be_written, is_right in [
        (fits, True, True),
        (fits_nearly, True, False),
        (fits_never, False, False),
    ]:
        assert writable(spec, {"a": value}) == may_be_written, value
        assert (toolkit.validate("t", {"a": value}) is None) == is_right, value


@pytest.mark.parametrize("call_format", [each.name for each in formats()])
@pytest.mark.parametrize("what", CASES)
def test_every_format_can_be_constrained(what, call_format):
    assert call_grammar([tool(CASES[what][0]).to_openai()], call_format=call_format)


@pytest.mark.parametrize(
    ("names", "right", "wrong"),
    [
        ({"enum": ["red", "blue"]}, {"red": 1}, {"green": 1}),
        ({"$ref": "#/$defs/Colour"}, {"blue": 2}, {"green": 1}),
        ({"pattern": "^[a-z]{1,3}$"}, {"abc": 1}, {"ABC": 1}),
    ],
)
def test_names_of_properties_are_held_to_where_they_can_be(names, right, wrong):
    colours = {"Colour": {"enum": ["red", "blue"]}}
    spec = tool(COUNTS | {"propertyNames": names}, definitions=colours)
    assert reduced_schema(spec.parameters)[1] == ()
    assert writable(spec, {"a": right}) and Toolkit([spec]).validate("t", {"a": right}) is None
    assert not writable(spec, {"a": wrong}) and not writable(spec, {"a": {"red": "1"}})


def test_an_address_as_zod_describes_it():
    spec = tool({"type": "string", "format": "email", "pattern": EMAIL})
    assert writable(spec, {"a": "ann@shop.org"}) and not writable(spec, {"a": "ann"})
    assert Toolkit([spec]).validate("t", {"a": "ann@shop.org"}) is None


def test_one_of_alternatives_that_overlap():
    spec = tool({"oneOf": [{"type": "integer"}, {"type": "number", "minimum": 0.5}]})
    assert writable(spec, {"a": 0.75}) and writable(spec, {"a": -3})
    assert not writable(spec, {"a": "x"})


def test_what_never_fits_is_not_written():
    assert writable(tool({"not": {}}, required=()), {})
    assert not writable(tool({"not": {}}, required=()), {"a": 1})
    with pytest.raises(TrimtabError, match="'t' cannot be constrained: Unsatisfiable"):
        call_grammar([tool({"not": {}}).to_openai()])


def test_a_schema_that_can_be_held_stays_as_it_is():
    schema = {
        "type": "object",
        "properties": {"a": NUMBERS | {"uniqueItems": False}, "b": {"pattern": "^a+$"}},
        "$defs": {"C": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/C"}]}},
    }
    same, left_out = reduced_schema(schema)
    assert left_out == ()
    assert same["properties"] == {"a": NUMBERS, "b": {"pattern": "^a+$"}}
    assert same["$defs"] == schema["$defs"]


@pytest.mark.parametrize("what", CASES)
def test_an_answer_that_nobody_checks_is_refused(what):
    with pytest.raises(TrimtabError, match="answers cannot be held to the schema"):
        json_grammar({"type": "object", "properties": {"a": CASES[what][0]}})


def test_an_agent_calls_a_function_with_a_set_and_is_told_what_is_wrong(scripted, call):
    given = []

    def paint(colours: set[str]) -> str:
        """Paint it."""
        given.append(colours)
        return "painted"

    calls = [call("paint", colours=["red", "red"]), call("paint", colours=["red"])]
    model = scripted([*calls, "Done."])
    agent = build_agent(model, Toolkit([paint]), system="You paint.")
    end = agent.invoke({"messages": [("user", "Paint it red")]})
    said = [message.content for message in end["messages"] if message.type == "tool"]
    assert given == [{"red"}]
    assert 'expected items that all differ, got ["red", "red"]' in said[0]
    assert json.dumps("uniqueItems") not in model.requests[0].grammar
