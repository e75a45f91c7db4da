import datetime
import enum
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import pytest
from langchain_core.tools import InjectedToolArg, StructuredTool, tool
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from trimtab.errors import TrimtabError
from trimtab.tools.spec import ToolSpec
from trimtab.tools.toolkit import Toolkit

OBJECT = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


class Prices(BaseModel):
    """A range of prices."""

    low: float = 0.0
    high: float


@dataclass
class Point:
    x: int
    y: int = 2


class Options(TypedDict, total=False):
    gift: bool


def find(
    query: str,
    count: Annotated[int, Field(ge=1, le=5)] = 3,
    kind: Literal["new", "used"] = "new",
    size: Size | None = None,
    prices: Prices | None = None,
    points: list[Point] = [],  # noqa: B006 - a mutable default is what this is about
    options: Options | None = None,
    day: datetime.date | None = None,
    schema: str = "plain",
    _hidden: Annotated[int, Field(description="From the field.")] = 0,
) -> dict[str, Any]:
    """Find products.

    Args:
        query: What to
            look for.
        prices: Between these.
        _hidden: From the docstring.
    """
    return dict(locals())


class TestFromFunction:
    def test_schema_has_types_defaults_bounds_and_descriptions(self):
        spec = ToolSpec.from_function(find)
        properties = spec.parameters["properties"]
        assert (spec.name, spec.description) == ("find", "Find products.")
        assert spec.parameters["required"] == ["query"]
        assert spec.parameters["additionalProperties"] is False
        assert properties["query"] == {"type": "string", "description": "What to look for."}
        assert properties["count"] == {"type": "integer", "default": 3, "maximum": 5, "minimum": 1}
        assert properties["kind"]["enum"] == ["new", "used"]
        assert properties["size"]["anyOf"] == [{"$ref": "#/$defs/Size"}, {"type": "null"}]
        assert properties["points"]["items"] == {"$ref": "#/$defs/Point"}
        assert spec.parameters["$defs"]["Prices"]["required"] == ["high"]
        assert "schema" in properties
        assert properties["_hidden"]["description"] == "From the field."

    def test_titles_are_left_out_but_not_a_parameter_called_title(self):
        def rename(title: str, more: Prices) -> None:
            """Rename."""

        parameters = ToolSpec.from_function(rename).parameters
        assert parameters["properties"]["title"] == {"type": "string"}
        assert "title" not in parameters
        assert "title" not in parameters["$defs"]["Prices"]
        assert next(iter(parameters)) == "type"

    def test_arguments_arrive_as_instances(self):
        arguments = {
            "query": "mug",
            "size": "l",
            "prices": {"high": 3},
            "points": [{"x": 1}],
            "day": "2020-02-29",
            "_hidden": 7,
        }
        got = Toolkit([ToolSpec.from_function(find)]).call("find", arguments).value
        assert got["size"] is Size.LARGE
        assert got["prices"] == Prices(low=0.0, high=3.0)
        assert got["points"] == [Point(1, 2)]
        assert got["day"] == datetime.date(2020, 2, 29)
        assert (got["count"], got["kind"], got["_hidden"], got["options"]) == (3, "new", 7, None)

    def test_what_only_pydantic_sees_is_an_invalid_argument_too(self):
        result = Toolkit([ToolSpec.from_function(find)]).call("find", {"query": "a", "day": "soon"})
        assert result.error is not None
        assert (result.error.kind, result.error.path) == ("invalid_arguments", "day")
        assert '"soon"' in result.content

    def test_a_misspelt_argument_is_told_as_a_missing_one(self):
        toolkit = Toolkit([ToolSpec.from_function(find)])
        assert toolkit.call("find", {"qery": "mug"}).content == (
            "Error: expected the required 'query', got 'qery'"
        )
        assert "got 'more'" in toolkit.call("find", {"query": "mug", "more": 1}).content

    def test_string_annotations_and_bound_methods(self):
        class Shop:
            def buy(self, asin: "str", count: "int" = 1) -> "str":
                """Buy."""
                return asin * count

        spec = ToolSpec.from_function(Shop().buy, name="buy_it", description="Buy it.", timeout=5)
        assert (spec.name, spec.description, spec.timeout) == ("buy_it", "Buy it.", 5)
        assert Toolkit([spec]).call("buy_it", {"asin": "a", "count": 2}).content == "aa"

    @pytest.mark.parametrize(
        ("function", "part"),
        [
            (lambda x: x, "no type"),
            (lambda *xs: xs, "by keyword"),
            (lambda **xs: xs, "by keyword"),
            (eval("lambda x, /: x"), "by keyword"),
        ],
    )
    def test_parameters_that_cannot_be_told_are_refused(self, function, part):
        with pytest.raises(TrimtabError, match=part):
            ToolSpec.from_function(function, name="f")

    def test_types_without_a_schema_are_refused_in_one_line(self):
        class Opaque:
            pass

        def take(it: Opaque) -> None:
            """Take."""

        def call(it: "Nowhere") -> None:  # noqa: F821
            """Call."""

        for function in (take, call):
            with pytest.raises(TrimtabError) as caught:
                ToolSpec.from_function(function)
            assert "\n" not in str(caught.value)
            assert function.__name__ in str(caught.value)


class TestFromPydantic:
    def test_name_docstring_and_instances(self):
        class Order(BaseModel):
            """Order something."""

            asin: str
            prices: Prices = Prices(high=1)

        spec = ToolSpec.from_pydantic(Order, lambda asin, prices: (asin, prices))
        assert (spec.name, spec.description) == ("Order", "Order something.")
        assert "description" not in spec.parameters
        value = Toolkit([spec]).call("Order", {"asin": "a", "prices": {"high": 2}}).value
        assert value == ("a", Prices(high=2))

    def test_a_recursive_model_is_an_object(self):
        class Node(BaseModel):
            value: int
            children: list["Node"] = []

        toolkit = Toolkit([ToolSpec.from_pydantic(Node, lambda value, children: children)])
        fine = toolkit.call("Node", {"value": 1, "children": [{"value": 2}]})
        wrong = toolkit.call("Node", {"value": 1, "children": [{"children": []}]})
        assert fine.value == [Node(value=2)]
        assert wrong.error is not None
        assert wrong.error.path == "children[0]"
        root = Node.model_json_schema()
        assert "$ref" in root
        assert ToolSpec("node", "", root).parameters["required"] == ["value"]

    def test_something_else_is_refused(self):
        with pytest.raises(TrimtabError, match="pydantic model"):
            ToolSpec.from_pydantic(dict)  # type: ignore[arg-type]


class TestFromOtherForms:
    def test_json_schema_gives_its_title_and_description(self):
        schema = {**OBJECT, "title": "count", "description": "Count.", "$schema": "http://x/y"}
        spec = ToolSpec.from_json_schema(schema, lambda n: n)
        assert (spec.name, spec.description, spec.parameters) == ("count", "Count.", OBJECT)
        with pytest.raises(TrimtabError, match="name"):
            ToolSpec.from_json_schema(OBJECT)

    def test_openai_there_and_back(self):
        inner = {"name": "count", "description": "Count.", "parameters": OBJECT}
        wrapped = {"type": "function", "function": inner}
        for form in (inner, wrapped, {"type": "function", **inner}):
            assert ToolSpec.from_openai(form).to_openai() == wrapped
        assert ToolSpec.from_openai({"name": "now"}).parameters["properties"] == {}
        for bad in ({"type": "function"}, {"function": "x"}, [], None):
            with pytest.raises(TrimtabError, match="OpenAI"):
                ToolSpec.from_openai(bad)  # type: ignore[arg-type]

    def test_mcp_dict_and_object(self):
        class Item(BaseModel):
            name: str
            description: str | None = None
            input_schema: dict[str, Any] = Field(alias="inputSchema")

        item = {"name": "count", "inputSchema": OBJECT}
        for form in (item, Item.model_validate(item)):
            spec = ToolSpec.from_mcp(form)
            assert (spec.name, spec.description, spec.parameters) == ("count", "", OBJECT)
        with pytest.raises(TrimtabError, match="MCP"):
            ToolSpec.from_mcp({"inputSchema": OBJECT})

    def test_langchain_there(self):
        @tool
        def add(a: int, b: int, user: Annotated[str, InjectedToolArg] = "nobody") -> int:
            """Add two numbers."""
            return a + b

        @tool
        async def later(a: int) -> int:
            """Add one, later."""
            return a + 1

        spec = ToolSpec.from_langchain(add)
        assert list(spec.parameters["properties"]) == ["a", "b"]
        toolkit = Toolkit([spec, ToolSpec.from_langchain(later)])
        assert toolkit.call("add", {"a": 1, "b": 2}).value == 3
        assert toolkit.call("later", {"a": 1}).value == 2
        assert not toolkit.call("add", {"a": "1", "b": 2}).ok
        with pytest.raises(TrimtabError, match="LangChain"):
            ToolSpec.from_langchain(len)  # type: ignore[arg-type]

    def test_langchain_back(self):
        [made] = Toolkit([find]).to_langchain()
        assert isinstance(made, StructuredTool)
        assert made.name == "find"
        call = {"type": "tool_call", "id": "1", "name": "find", "args": {"query": "mug"}}
        message = made.invoke(call)
        assert message.artifact["query"] == "mug"
        wrong = made.invoke({**call, "args": {"query": 3}})
        assert (wrong.status, wrong.content) == ("error", "Error: query: expected a string, got 3")
        again = ToolSpec.from_langchain(made)
        assert again.parameters == ToolSpec.from_function(find).parameters


class TestChecks:
    @pytest.mark.parametrize("name", ["", "a b", "a" * 65, "a\n", "é", None, 3])
    def test_bad_names_are_refused(self, name):
        with pytest.raises(TrimtabError, match="tool name"):
            ToolSpec(name, "", OBJECT)

    @pytest.mark.parametrize(
        ("schema", "part"),
        [
            ({"type": "object", "properties": {"n": {"type": "strin"}}}, "properties.n.type"),
            ({"type": "object", "properties": {"n": {"pattern": "["}}}, "properties.n.pattern"),
            ({"type": "object", "required": "n"}, "required"),
            ({"type": "dict"}, "dict"),
            ({"type": "array"}, '"object"'),
            ([], "JSON Schema"),
            ({"type": "object", "default": object()}, "not JSON"),
            ({"type": "object", "properties": {"n": {"$ref": "#/$defs/N"}}}, r"#/\$defs/N"),
            ({"type": "object", "properties": {"n": {"$ref": "https://x.test/n"}}}, "x.test"),
        ],
    )
    def test_bad_schemas_are_refused_in_one_line(self, schema, part):
        with pytest.raises(TrimtabError, match=part) as caught:
            ToolSpec("count", "", schema)
        assert "\n" not in str(caught.value)

    def test_a_name_that_looks_like_a_reference_is_none(self):
        schema = {"type": "object", "properties": {"$ref": {"type": "string"}}}
        assert ToolSpec("count", "", schema).parameters == schema

    def test_other_fields_are_checked(self):
        for change in ({"description": None}, {"function": 3}, {"timeout": 0}):
            with pytest.raises(TrimtabError, match="tool count"):
                replace(ToolSpec("count", "", OBJECT), **change)

    def test_what_was_handed_in_and_out_stays_apart(self):
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
        spec = ToolSpec("count", "", schema)
        schema["properties"]["n"]["type"] = "string"
        spec.to_openai()["function"]["parameters"].clear()
        assert spec.parameters["properties"]["n"]["type"] == "integer"
        assert hash(spec) == hash(ToolSpec("count", "", OBJECT))
