"""Plain schemas: what fits one fits the schema that it was made from, and nothing has no end."""

import json
import random

import pytest
from jsonschema import Draft202012Validator

from trimtab.agent.calling.flat_schema import flattened

LEAF = {"type": "string", "enum": ["a", "b"]}


def given(properties, **more):
    return {"type": "object", "properties": properties, **more}


TREE = given(
    {"root": {"$ref": "#/$defs/node"}},
    required=["root"],
    **{
        "$defs": {
            "node": given(
                {"label": LEAF, "children": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
                required=["label"],
            )
        }
    },
)
MUTUAL = given(
    {"a": {"$ref": "#/$defs/even"}},
    **{
        "$defs": {
            "even": {"anyOf": [{"type": "null"}, given({"odd": {"$ref": "#/$defs/odd"}})]},
            "odd": given({"even": {"$ref": "#/$defs/even"}}, required=["even"]),
            "alone": {"type": "integer"},
        }
    },
)
SELF = given({"label": LEAF, "again": {"$ref": "#"}}, required=["label"])
PAIRS = given(
    {"pair": {"$ref": "#/definitions/pair"}},
    definitions={
        "pair": {
            "type": "array",
            "prefixItems": [LEAF, {"anyOf": [LEAF, {"$ref": "#/definitions/pair"}]}],
            "items": False,
            "minItems": 2,
        }
    },
)
MAPS = given(
    {"map": {"$ref": "#/$defs/map"}},
    **{"$defs": {"map": {"type": "object", "additionalProperties": {"$ref": "#/$defs/map"}}}},
)
ODD = given(
    {"a": {"$ref": "#/$defs/a~1b c"}, "b": {"$ref": "#/$defs/a b~1c"}},
    **{
        "$defs": {
            "a/b c": given({"a": {"$ref": "#/$defs/a~1b c"}, "x": LEAF}),
            "a b/c": given({"b": {"$ref": "#/$defs/a b~1c"}}),
        }
    },
)
RECURSIVE = {
    "odd names": ODD,
    "tree": TREE,
    "mutual": MUTUAL,
    "self": SELF,
    "pairs": PAIRS,
    "maps": MAPS,
}

BASE = given({"id": {"type": "integer"}}, required=["id"])
JOINED = {
    "all of": {"allOf": [BASE, given({"name": LEAF})]},
    "all of a reference": {"allOf": [{"$ref": "#/$defs/base"}], "description": "A base."},
    "a reference and more": {"$ref": "#/$defs/base", "properties": {"name": LEAF}},
    "all of, beside properties": {"allOf": [BASE], "properties": {"name": LEAF}},
    "any of, beside properties": {
        "type": "object",
        "properties": {"id": {"type": "integer"}, "name": LEAF},
        "anyOf": [{"required": ["id"]}, {"required": ["name"]}],
    },
    "the same property twice": {
        "allOf": [given({"name": {"type": "string"}}), given({"name": {"maxLength": 1}})]
    },
}


def depth(value):
    inside = value.values() if isinstance(value, dict) else value if type(value) is list else ()
    return 1 + max(map(depth, inside), default=0) if isinstance(value, dict | list) else 0


def references(schema):
    text = json.dumps(schema)
    return {part.partition('"')[0] for part in text.split('"$ref": "')[1:]}


def draw(schema, root, random):
    """Some value that fits a plain schema of the kinds used here."""
    if "$ref" in schema:
        found = root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        return draw(found, root, random)
    if "anyOf" in schema:
        return draw(random.choice(schema["anyOf"]), root, random)
    if "enum" in schema:
        return random.choice(schema["enum"])
    if "prefixItems" in schema:
        return [draw(item, root, random) for item in schema["prefixItems"]]
    if schema.get("type") == "array":
        items = schema.get("items")
        most = min(schema.get("maxItems", 2), 2) if items else 0
        return [draw(items, root, random) for _ in range(random.randint(0, most))]
    if schema.get("type") == "object":
        wanted = {
            name: draw(part, root, random)
            for name, part in schema.get("properties", {}).items()
            if part is not False and (name in schema.get("required", ()) or random.random() < 0.8)
        }
        if isinstance(schema.get("additionalProperties"), dict):
            wanted["more"] = draw(schema["additionalProperties"], root, random)
        return wanted
    return {"null": None, "integer": 3}[schema["type"]]


@pytest.mark.parametrize("limit", [1, 2, 5])
@pytest.mark.parametrize("name", RECURSIVE)
def test_recursion_ends_and_what_fits_still_fits(name, limit):
    schema = RECURSIVE[name]
    before = json.dumps(schema)
    made = flattened(schema, max_depth=limit)
    assert json.dumps(schema) == before
    Draft202012Validator.check_schema(made)
    # No definition leads to itself any more: each copy refers to deeper ones alone.
    for key, part in made["$defs"].items():
        for reference in references(part):
            level = reference.rpartition(".")[2]
            assert not level.isdigit() or int(level) > int(key.rpartition(".")[2])
    checker = Draft202012Validator(schema)
    depths = []
    for seed in range(60):
        value = draw(made, made, random.Random(seed))
        checker.validate(value)
        Draft202012Validator(made).validate(value)
        depths.append(depth(value))
    assert max(depths) <= 3 * limit + 3
    if limit > 2:
        assert max(depths) > 2


def test_what_could_only_go_on_is_left_out_or_empty():
    made = flattened(TREE, max_depth=1)["$defs"]["node.1"]["properties"]
    assert made["children"] == {"type": "array", "maxItems": 0}
    assert flattened(SELF, max_depth=1)["$defs"]["root.1"]["properties"]["again"] is False
    assert flattened(PAIRS, max_depth=1)["$defs"]["pair.1"]["prefixItems"][1] == {"anyOf": [LEAF]}


def test_a_schema_that_no_finite_value_fits_is_left_as_it_is():
    endless = given(
        {"a": {"$ref": "#/$defs/a"}},
        required=["a"],
        **{"$defs": {"a": given({"a": {"$ref": "#/$defs/a"}}, required=["a"])}},
    )
    assert flattened(endless)["properties"] == endless["properties"]


@pytest.mark.parametrize("name", JOINED)
def test_parts_that_hold_at_once_become_one(name):
    schema = given({"x": JOINED[name]}, **{"$defs": {"base": BASE}})
    made = flattened(schema)["properties"]["x"]
    assert "allOf" not in made and not ("anyOf" in made and "properties" in made)
    for alternative in made.get("anyOf", [made]):
        assert alternative.get("type") == "object" or "$ref" in alternative
    checker, other = Draft202012Validator(schema), Draft202012Validator(flattened(schema))
    for value in ({}, {"id": 1}, {"name": "a"}, {"id": 1, "name": "a"}, {"id": "1"}, {"name": 3}):
        assert checker.is_valid({"x": value}) == other.is_valid({"x": value})


def tagged(kind, **more):
    return given({"kind": {"const": kind}, **more}, required=["kind"])


@pytest.mark.parametrize(
    ("alternatives", "exclusive"),
    [
        ([{"type": "string"}, {"type": "integer"}], True),
        ([{"type": "number"}, {"type": "integer"}], False),
        ([tagged("a", x=LEAF), tagged("b", y=LEAF)], True),
        ([tagged("a", x=LEAF), tagged("a", y=LEAF)], False),
        ([tagged("a"), given({"kind": {"const": "b"}})], False),
        ([LEAF, {"type": "string", "enum": ["c"]}], True),
        ([LEAF, {"type": "string", "enum": ["b"]}], False),
        ([{"$ref": "#/$defs/base"}, {"type": "null"}], True),
    ],
)
def test_alternatives_that_cannot_hold_at_once_are_any_of(alternatives, exclusive):
    schema = given({"x": {"oneOf": alternatives}}, **{"$defs": {"base": BASE}})
    assert ("anyOf" in flattened(schema)["properties"]["x"]) == exclusive


def test_a_plain_schema_stays_as_it_is():
    schema = given({"a": LEAF, "b": {"anyOf": [LEAF, {"type": "null"}]}}, required=["a"])
    assert flattened(schema) == schema
