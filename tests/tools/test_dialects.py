"""Schemas of every dialect that people write, as the one that all of trimtab reads."""

import datetime
import enum
import uuid
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any, Literal

import jsonschema
import pytest
from pydantic import BaseModel, Field

from trimtab.errors import TrimtabError
from trimtab.tools.dialects import normal_schema
from trimtab.tools.spec import ToolSpec
from trimtab.tools.toolkit import Toolkit


def toolkit(properties: dict[str, Any], **more: Any) -> Toolkit:
    schema = {"title": "do", "type": "object", "properties": properties, **more}
    return Toolkit([ToolSpec.from_json_schema(schema)])


def fits(made: Toolkit, **arguments: Any) -> bool:
    return made.validate("do", arguments) is None


def test_a_normal_schema_stays_as_it_is():
    schema = {
        "$defs": {"leaf": {"type": "string"}},
        "type": "object",
        "properties": {"b": {"$ref": "#/$defs/leaf"}, "a": {"enum": [1, None]}},
        "required": ["b"],
    }
    assert list(normal_schema(schema, "it")) == list(schema)
    assert normal_schema(schema, "it") == schema


TUPLE = {"type": "array", "items": [{"type": "number"}, {"type": "string"}]}
FAMILY = {
    "draft 4": ("http://json-schema.org/draft-04/schema#", jsonschema.Draft4Validator),
    "draft 6": ("http://json-schema.org/draft-06/schema#", jsonschema.Draft6Validator),
    "draft 7": ("http://json-schema.org/draft-07/schema#", jsonschema.Draft7Validator),
    "2019-09": ("https://json-schema.org/draft/2019-09/schema", jsonschema.Draft201909Validator),
}
OLD = {
    "tuple": TUPLE,
    "closed tuple": {**TUPLE, "additionalItems": False},
    "tuple and rest": {**TUPLE, "additionalItems": {"type": "boolean"}},
    "no tuple": {"type": "array", "items": {"type": "string"}, "additionalItems": False},
    "definition": {"$ref": "#/definitions/even~1odd"},
    "definition by id": {"$ref": "#/definitions/with%20space"},
    "beside a reference": {"$ref": "#/definitions/even~1odd", "minimum": 100},
    "dependencies": {"type": "object", "dependencies": {"a": ["b"], "c": {"required": ["d"]}}},
    "into properties": {
        "type": "object",
        "properties": {"a": {"$ref": "#/definitions/list/items"}},
    },
    "recursion": {"$ref": "#/definitions/list"},
    "boolean, or not": {"not": {"type": "boolean"}},
}
VALUES = [
    [], [1], [1, "a"], ["a"], [1, "a", True], [1, "a", 3], ["a", "b"], 4, 3, 104, "x", True, None,
    {}, {"a": 1}, {"a": 1, "b": 2}, {"c": 1}, {"c": 1, "d": 1}, {"a": [2]}, [[[]]], [[3]], [[4]],
]  # fmt: skip


@pytest.mark.parametrize("draft", FAMILY)
@pytest.mark.parametrize("name", OLD)
def test_old_drafts_are_checked_as_their_own_validators_check_them(draft, name):
    if (draft, name) == ("2019-09", "dependencies"):
        pytest.skip("this draft has two other words for it")
    uri, checker = FAMILY[draft]
    schema = {
        "$schema": uri,
        "type": "object",
        "properties": {"value": OLD[name]},
        "definitions": {
            "even/odd": {"type": "integer", "multipleOf": 2},
            "with space": {"type": "string"},
            "list": {"type": "array", "items": {"$ref": "#/definitions/list"}},
        },
    }
    made = Toolkit([ToolSpec("do", "", schema)])
    for value in VALUES:
        assert fits(made, value=value) == checker(schema).is_valid({"value": value}), value


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "string", "nullable": True}, ["a", None], [1]),
        ({"enum": ["a"], "type": "string", "nullable": True}, ["a", None], ["b"]),
        ({"$ref": "#/$defs/n", "nullable": True}, [1, None], ["a"]),
        ({"anyOf": [{"type": "string"}], "nullable": True}, ["a", None], [1]),
        ({"type": "string", "x-nullable": True}, [None], [1]),
        ({"type": "string", "nullable": False}, ["a"], [None]),
        ({"type": "STRING"}, ["a"], [1]),
        ({"minimum": 0, "exclusiveMinimum": True}, [0.1], [0]),
        ({"minimum": 0, "exclusiveMinimum": False}, [0], [-1]),
        ({"maximum": 0, "exclusiveMaximum": True}, [-1], [0]),
        ({"exclusiveMinimum": True}, [-1], []),
        (True, [1, "a", None], []),
        (False, [], [1, None]),
        ({"type": "array", "items": []}, [[1]], [1]),
        ({"type": "array", "items": False}, [[]], [[1]]),
        ({"enum": [1, "one", None, 2.5]}, [1, "one", None, 2.5], ["1", True, 2]),
        ({"const": None}, [None], [0, False]),
        ({"type": "string", "description": None, "enum": None}, ["a"], [1]),
        ({"type": "string", "pattern": r"^\p{L}+$"}, ["é", "жук"], ["1"]),
        ({"type": "string", "pattern": r"^(?<year>[0-9]{4})$"}, ["2020"], ["20"]),
        ({"$ref": "#anchored"}, ["a"], [1]),
        ({"$ref": "#/$defs/holder/properties/in~1side"}, [True], [1]),
        ({"multipleOf": 0.1}, [0.3, 1.1, 1e20], [0.35, float("inf"), float("nan")]),
    ],
)
def test_words_of_many_dialects(schema, good, bad):
    definitions = {
        "n": {"type": "integer"},
        "s": {"$anchor": "anchored", "type": "string"},
        "holder": {"properties": {"in/side": {"type": "boolean"}}},
    }
    made = toolkit({"v": schema}, **{"$defs": definitions})
    assert [value for value in good if not fits(made, v=value)] == []
    assert [value for value in bad if fits(made, v=value)] == []


def test_every_price_in_cents_fits_and_no_other():
    made = toolkit({"price": {"type": "number", "multipleOf": 0.01}})
    assert [cents for cents in range(10_000) if not fits(made, price=cents / 100)] == []
    assert not fits(made, price=0.005)
    assert Fraction("19.99") % Fraction("0.01") == 0


def test_a_root_reference_is_replaced_wherever_it_leads():
    inner = {"type": "object", "properties": {"key": {"type": "string"}}, "required": ["key"]}
    for schema in (
        {"$ref": "#/definitions/Args", "definitions": {"Args": inner}},
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/B"}, "B": inner}},
        {"$ref": "#args", "$defs": {"A": {"$anchor": "args", **inner}}},
        {"$id": "https://x.test/a", "$ref": "b", "$defs": {"B": {"$id": "b", **inner}}},
    ):
        spec = ToolSpec("do", "", schema)
        assert spec.parameters == inner
        assert not fits(Toolkit([spec]))


def test_required_in_the_property_itself_and_a_root_without_a_type():
    spec = ToolSpec("do", "", {"properties": {"a": {"type": "string", "required": True}, "b": {}}})
    assert spec.parameters == {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {}},
        "required": ["a"],
    }
    assert ToolSpec("do", "", {}).parameters == {"type": "object"}


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "object", "properties": {"a": {"$ref": "#/$defs/gone"}}}, "gone"),
        ({"type": "object", "properties": {"a": {"$ref": "other.json"}}}, "other.json"),
        ({"type": "object", "properties": {"a": {"pattern": "(?<!a+)["}}}, "pattern"),
        ({"type": "object", "properties": {"a": {"default": float("nan")}}}, "JSON"),
        ({"type": ["string", "null"]}, "object"),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(schema, told):
    with pytest.raises(TrimtabError, match=told) as caught:
        ToolSpec("do", "", schema)
    assert "\n" not in str(caught.value)


class Size(enum.Enum):
    SMALL = 1
    LARGE = "large"


class Line(BaseModel):
    price: Annotated[Decimal, Field(ge=0, max_digits=6, decimal_places=2)]
    parts: list["Line"] = []


def test_decimals_times_and_enums_arrive_as_instances():
    got: dict[str, Any] = {}

    def pay(
        amount: Decimal,
        line: Line,
        day: datetime.date,
        at: datetime.datetime,
        long: datetime.timedelta,
        key: uuid.UUID,
        size: Size,
        kind: Literal["a", 1, None] = None,
    ) -> str:
        """Pay."""
        got.update(locals())
        return "paid"

    made = Toolkit([pay])
    arguments = {
        "amount": 12.34,
        "line": {"price": 19.99, "parts": [{"price": 0.07}]},
        "day": "2024-02-29",
        "at": "2024-02-29T12:00:00Z",
        "long": "PT1H",
        "key": "12345678-1234-5678-1234-567812345678",
        "size": 1,
        "kind": 1,
    }
    assert made.call("pay", arguments).content == "paid"
    assert got["amount"] == Decimal("12.34")
    assert got["line"].parts[0].price == Decimal("0.07")
    assert got["size"] is Size.SMALL
    assert got["long"] == datetime.timedelta(hours=1)
    assert made.call("pay", {**arguments, "amount": "0.10"}).ok
    assert got["amount"] == Decimal("0.10")
    for wrong in (-1, 0.001, 10_000):
        assert not made.call("pay", {**arguments, "line": {"price": wrong}}).ok
