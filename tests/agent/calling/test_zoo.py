"""A zoo of schemas, as people write them, answered by a model that says anything at all.

A model of random weights drawn from at temperature 1.5 is the worst speaker there is: whatever it
says under a grammar must fit the schema all the same.
"""

import datetime
import enum
import json
from typing import Annotated, Any, Literal, Optional, Union

import pytest
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from trimtab.agent.calling.calls import call_grammar, parse_calls
from trimtab.steering.generation.requests import Request
from trimtab.tools import Toolkit, ToolSpec

DRAWS = 6


class Colour(enum.Enum):
    RED = "red"
    BLUE = "light blue"


class Node(BaseModel):
    """A tree."""

    label: Annotated[str, Field(max_length=4)]
    children: Annotated[list["Node"], Field(max_length=2)] = []


class Person(BaseModel):
    """A person, whose friend may be one."""

    name: str
    friend: Optional["Person"] = None
    born: datetime.date | None = None


class Circle(BaseModel):
    kind: Literal["circle"] = "circle"
    radius: Annotated[float, Field(gt=0, le=10)]


class Square(BaseModel):
    kind: Literal["square"] = "square"
    side: Annotated[int, Field(ge=1, lt=100)]


class Drawing(BaseModel):
    """Shapes of two kinds."""

    model_config = ConfigDict(extra="forbid")
    shapes: Annotated[list[Circle | Square], Field(min_length=1, max_length=3)]
    background: Colour | None = None
    scale: Annotated[float, Field(ge=-1.5, le=2.5, multiple_of=0.5)] = 1.0


class Address(TypedDict, total=False):
    street: str
    number: int


def order(
    items: Annotated[dict[str, int], Field(max_length=3)],
    to: Address,
    colours: set[Colour],
    when: datetime.datetime,
    pair: tuple[int, str],
    note: Annotated[str, Field(pattern=r"^[a-z]{2,5}(-[0-9])?$")] = "ab",
    flags: list[bool] | bool | None = None,
    weight: Union[int, Literal["heavy"]] = 1,  # noqa: UP007 - older code writes it so
) -> None:
    """Order something."""


FOREST: dict[str, Any] = {
    "title": "forest",
    "type": "object",
    "properties": {"trees": {"type": "array", "items": {"$ref": "#/$defs/tree"}, "maxItems": 2}},
    "required": ["trees"],
    "$defs": {
        "tree": {"anyOf": [{"$ref": "#/$defs/leaf"}, {"$ref": "#/$defs/branch"}, {"type": "null"}]},
        "leaf": {"type": "string", "enum": ["oak", "elm"]},
        "branch": {
            "type": "object",
            "properties": {"left": {"$ref": "#/$defs/tree"}, "right": {"$ref": "#/$defs/tree"}},
            "required": ["left", "right"],
        },
    },
}
PLAIN: dict[str, Any] = {
    "nothing": {},
    "loose": {"a": {}, "b": {"type": "object"}, "c": {"type": "array"}},
    "several types": {"a": {"type": ["string", "integer", "null"]}},
    "bounded numbers": {
        "p": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        "n": {"type": "integer", "minimum": -3, "maximum": 3},
        "m": {"type": "integer", "multipleOf": 5},
        "x": {"type": "number"},
    },
    "nested arrays": {
        "grid": {
            "type": "array",
            "minItems": 2,
            "maxItems": 2,
            "items": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3},
        }
    },
    "mixed enum": {"a": {"enum": [1, "one", None, True, 2.5, {"b": [1]}]}, "b": {"const": "x"}},
    "odd names": {'a "quoted" name': {"type": "string"}, "ü\\n": {"type": "boolean"}},
    "formats": {
        "day": {"type": "string", "format": "date"},
        "mail": {"type": "string", "format": "email"},
        "id": {"type": "string", "format": "uuid"},
        "phone": {"type": "string", "format": "phone"},
    },
    "all of": {
        "a": {
            "allOf": [
                {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
                {"type": "object", "properties": {"y": {"type": "string"}}},
            ]
        }
    },
    "exclusive": {"a": {"oneOf": [{"type": "string"}, {"type": "integer"}]}},
    "cents": {"price": {"type": "number", "minimum": 0, "maximum": 100, "multipleOf": 0.01}},
    "unbounded cents": {"price": {"type": "number", "multipleOf": 0.01}},
    "old tuple": {
        "a": {
            "type": "array",
            "minItems": 2,
            "maxItems": 2,
            "items": [{"type": "integer"}, {"type": "boolean"}],
        }
    },
    "closed old tuple": {
        "a": {"type": "array", "items": [{"type": "integer"}], "additionalItems": False}
    },
    "old tuple with a rest": {
        "a": {"type": "array", "items": [{"type": "integer"}], "additionalItems": {"type": "null"}}
    },
    "nullable": {
        "a": {"type": "string", "enum": ["x", "y"], "nullable": True},
        "b": {"allOf": [{"type": "integer", "maximum": 5}], "nullable": True},
    },
    "old bounds": {
        "a": {
            "type": "number",
            "minimum": 0,
            "exclusiveMinimum": True,
            "maximum": 1,
            "exclusiveMaximum": False,
        }
    },
    "booleans": {"a": True, "b": {"type": "array", "items": True, "maxItems": 2}},
    "into properties": {
        "a": {"type": "array", "items": {"type": "integer"}, "maxItems": 1},
        "b": {"$ref": "#/properties/a"},
        "c": {"$ref": "#/properties/a/items"},
    },
    "long enum": {"a": {"enum": [f"value number {n}" for n in range(200)]}},
}
SPECS = [
    ToolSpec.from_pydantic(Node),
    ToolSpec.from_pydantic(Person),
    ToolSpec.from_pydantic(Drawing),
    ToolSpec.from_json_schema(FOREST),
    *(
        ToolSpec(
            name.replace(" ", "_"),
            name,
            {"type": "object", "properties": schema, "required": list(schema)[:1]},
        )
        for name, schema in PLAIN.items()
    ),
]
ROOT_REFERENCE = {
    "title": "root",
    "$schema": "http://json-schema.org/draft-07/schema#",
    "$ref": "#/definitions/Args",
    "definitions": {
        "Args": {
            "type": "object",
            "required": ["n"],
            "additionalProperties": False,
            "properties": {"n": {"type": "integer"}, "next": {"$ref": "#/definitions/Args"}},
        }
    },
}
SPECS.append(ToolSpec.from_json_schema(ROOT_REFERENCE))
ORDER = ToolSpec.from_function(order)
ZOO = {spec.name: spec for spec in SPECS}


def said(tiny, grammar: str, count: int, tokens: int = 3000) -> list[list[Any]]:
    """Calls that the model says under a grammar, an answer each."""
    ask = [{"role": "user", "content": "x"}]
    done = tiny.generate(
        [Request(ask, grammar=grammar)] * count, temperature=1.5, max_new_tokens=tokens, seed=7
    )
    assert [one.finish for one in done] == ["stop"] * count
    return [parse_calls(one.text) for one in done]


@pytest.mark.parametrize("name", ZOO)
def test_whatever_is_said_fits_the_schema(tiny, name):
    spec = ZOO[name]
    grammar = call_grammar([spec.to_openai()], max_string=8, max_items=2)
    different = set()
    for calls in said(tiny, grammar, DRAWS):
        [call] = calls
        assert call.name == name
        assert Toolkit([spec]).validate(spec.name, call.arguments) is None
        different.add(json.dumps(call.arguments))
    assert len(different) > 1 or name == "nothing"


def test_many_tools_at_once_and_in_parallel(tiny):
    toolkit = Toolkit(SPECS)
    grammar = call_grammar(toolkit.schemas(), parallel=True, max_string=8, max_items=2)
    answers = said(tiny, grammar, 24)
    assert len({call.name for calls in answers for call in calls}) > 6
    assert max(map(len, answers)) > 1
    for call in (call for calls in answers for call in calls):
        assert toolkit.validate(call.name, call.arguments) is None


def test_text_or_calls(tiny):
    toolkit = Toolkit(SPECS)
    grammar = call_grammar(toolkit.schemas(), parallel=True, or_text=True, max_string=8)
    ask = [{"role": "user", "content": "x"}]
    requests = [Request(ask, grammar=grammar)] * 48
    done = tiny.generate(requests, temperature=1.5, max_new_tokens=200, seed=2)
    marked = [one.text for one in done if one.finish == "stop" and "<tool_call>" in one.text]
    assert marked and any("<tool_call>" not in one.text for one in done)
    # Text that is cut off runs to the last token: there is nothing to close.
    cut = [one for one in done if one.finish == "length" and "<tool_call>" not in one.text]
    assert cut and all(len(one.tokens) == 200 for one in cut)
    for text in marked:
        calls = parse_calls(text)
        assert calls
        for call in calls:
            assert toolkit.validate(call.name, call.arguments) is None


@pytest.mark.parametrize("tokens", [12, 24, 48, 90])
def test_an_answer_without_much_room_is_closed(tiny, tokens):
    spec = ZOO["Person"]
    grammar = call_grammar([spec.to_openai()])
    ask = [{"role": "user", "content": "x"}]
    done = tiny.generate(
        [Request(ask, grammar=grammar)] * 8, temperature=1.5, max_new_tokens=tokens, seed=1
    )
    closed = [one for one in done if one.text.endswith("</tool_call>")]
    for one in closed:
        [call] = parse_calls(one.text)
        assert Toolkit([spec]).validate(spec.name, call.arguments) is None
    assert closed or tokens < 48


def test_what_python_types_ask_for_comes_as_instances(tiny):
    """A typed function is called with what was said, whatever it was."""
    got = []

    def take(**arguments: Any) -> str:
        got.append(arguments)
        return "ok"

    import dataclasses

    spec = dataclasses.replace(ORDER, function=take)
    grammar = call_grammar([spec.to_openai()], max_string=8, max_items=2)
    toolkit = Toolkit([spec])
    for [call] in said(tiny, grammar, DRAWS):
        result = toolkit.call(call.name, call.arguments)
        # RFC 3339 has a 60th second, Python has not; no grammar says that a set's items differ.
        assert result.ok or (
            ":60" in result.content
            if result.error.path == "when"
            else result.error.path == "colours" and "items that all differ" in result.content
        )
    assert got
    assert all(isinstance(one["when"], datetime.datetime) for one in got)
    assert all(isinstance(one["pair"], tuple) for one in got)
