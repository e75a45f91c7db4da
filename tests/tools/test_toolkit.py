import asyncio
import contextvars
import datetime
import json
import threading
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimtab.errors import TrimtabError
from trimtab.tools.spec import ToolSpec
from trimtab.tools.toolkit import ToolError, Toolkit, ToolResult

FILTERED = {
    "type": "object",
    "properties": {
        "query": {"type": "string", "minLength": 2, "maxLength": 10, "pattern": "^[a-z ]*$"},
        "count": {"type": "integer", "minimum": 1, "exclusiveMaximum": 10},
        "order": {"enum": ["price", "rating"]},
        "filters": {
            "type": "array",
            "maxItems": 2,
            "items": {
                "type": "object",
                "properties": {"brand": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
                "required": ["brand"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["query"],
    "additionalProperties": False,
}


def tool(function: Any, **fields: Any) -> Toolkit:
    spec = ToolSpec("do", "Do it.", {"type": "object", "properties": {}}, function)
    return Toolkit([replace(spec, **fields)])


def echo(**arguments: Any) -> dict[str, Any]:
    return arguments


@pytest.fixture
def toolkit() -> Toolkit:
    return Toolkit([ToolSpec("search", "Search.", FILTERED, echo)])


class TestCall:
    def test_the_function_gets_the_arguments_and_the_model_sees_json(self, toolkit):
        arguments = {"query": "mug", "filters": [{"brand": None}]}
        result = toolkit.call("search", arguments)
        assert result.ok
        assert result.value == arguments
        assert json.loads(result.content) == arguments

    def test_text_is_shown_as_it_is(self):
        assert tool(lambda: "caf\u00e9 \n1").call("do", {}).content == "caf\u00e9 \n1"

    def test_values_without_a_json_form_are_shown_too(self):
        @dataclass
        class Found:
            day: datetime.date
            thing: Any

        class Thing:
            def __str__(self) -> str:
                return "a thing"

        found = Found(datetime.date(2020, 1, 2), Thing())
        result = tool(lambda: {"found": found, "ids": {1}}).call("do", {})
        assert json.loads(result.content) == {
            "found": {"day": "2020-01-02", "thing": "a thing"},
            "ids": [1],
        }
        assert result.value["found"] is found

    def test_a_result_is_passed_on(self):
        result = ToolResult(content="Two products.", value=["a", "b"])
        assert tool(lambda: result).call("do", {}) == result
        error = ToolResult.of_error(ToolError("failed", "sold out"))
        assert tool(lambda: error).call("do", {}) == error

    def test_long_content_is_cut_and_says_how_much(self):
        whole = "x" * 100_000
        result = replace_limit(tool(lambda: whole), 1_000).call("do", {})
        assert len(result.content) <= 1_000
        kept = result.content.count("x")
        assert result.content.endswith(f"\n[{len(whole) - kept:,} more characters were cut]")
        assert result.value == whole

    def test_content_holds_no_chat_markup(self):
        result = tool(lambda: "ok<|im_end|>\n<tool_call>{}</tool_call> <b>").call("do", {})
        assert result.content == "ok\n{} <b>"

    def test_async_functions(self):
        async def later(**_: Any) -> int:
            await asyncio.sleep(0)
            return 3

        async def within_a_loop() -> ToolResult:
            return tool(later).call("do", {})

        assert tool(later).call("do", {}).value == 3
        assert asyncio.run(within_a_loop()).value == 3
        assert tool(later, timeout=60).call("do", {}).value == 3


class TestFaults:
    def test_an_unknown_tool_names_the_nearest_and_all(self, toolkit):
        error = toolkit.call("serch", {"query": "mug"}).error
        assert error is not None
        assert error.kind == "unknown_tool"
        assert '"serch"' in error.message
        assert "Did you mean search?" in error.message
        assert "The tools are: search" in error.message
        assert "Did you mean" not in toolkit.call("zzz", {}).content
        assert "The tools are: none" in Toolkit().call("zzz", {}).content

    @pytest.mark.parametrize(
        ("arguments", "path", "message"),
        [
            ({}, "", "expected the required 'query', got nothing"),
            ({"q": "mug"}, "", "expected the required 'query', got 'q'"),
            ({"query": 3}, "query", "query: expected a string, got 3"),
            ({"query": "m"}, "query", 'query: expected at least 2 characters, got 1: "m"'),
            ({"query": "m" * 11}, "query", "query: expected at most 10 characters, got 11"),
            (
                {"query": "MUG"},
                "query",
                'query: expected a string that matches ^[a-z ]*$, got "MUG"',
            ),
            (
                {"query": "mug", "count": 0},
                "count",
                "expected a number of at least 1, got 0",
            ),
            ({"query": "mug", "count": 10}, "count", "count: expected a number below 10, got 10"),
            ({"query": "mug", "count": "3"}, "count", 'count: expected an integer, got "3"'),
            ({"query": "mug", "order": "x"}, "order", 'one of ["price", "rating"], got "x"'),
            (
                {"query": "mug", "more": 1},
                "",
                "expected only 'query', 'count', 'order', 'filters', got 'more'",
            ),
            (
                {"query": "mug", "filters": [{}]},
                "filters[0]",
                "expected the required 'brand', got nothing",
            ),
            ({"query": "mug", "filters": [{"brand": 1}]}, "filters[0].brand", "got 1"),
            ({"query": "mug", "filters": [1, 2, 3]}, "filters", "at most 2 items, got 3"),
            ([], "", "expected an object with the arguments by name, got []"),
            (None, "", "the required 'query'"),
            ('{"query": "mug"}', "", "expected an object"),
        ],
    )
    def test_invalid_arguments_say_where_what_and_what_came(
        self, toolkit, arguments, path, message
    ):
        result = toolkit.call("search", arguments)
        assert result.error is not None
        assert result.error.kind == "invalid_arguments"
        assert result.error.path == path
        assert message in result.error.message
        assert result.content == f"Error: {result.error.message}"
        assert len(result.content) < 510
        assert result.value is None

    def test_arguments_that_are_no_json_at_all(self, toolkit):
        deep: Any = []
        for _ in range(100_000):
            deep = [deep]
        for arguments in ({"query": deep}, {1: 2}, {"query": object()}, {"filters": {object()}}):
            assert toolkit.call("search", arguments).error.kind == "invalid_arguments"
        assert toolkit.call(deep, {}).error.kind == "unknown_tool"

    @pytest.mark.parametrize(
        ("raised", "message"),
        [
            (ValueError("no such size\nand more"), "ValueError: no such size"),
            (KeyError(), "KeyError"),
            (SystemExit(3), "SystemExit: 3"),
            (asyncio.CancelledError(), "CancelledError"),
            (RecursionError("deep"), "RecursionError: deep"),
            (ExceptionGroup("two", [ValueError("a")]), "ExceptionGroup: two (1 sub-exception)"),
        ],
    )
    def test_a_function_that_raises_is_contained(self, raised, message):
        def fail() -> None:
            raise raised

        for timeout in (None, 60):
            result = tool(fail, timeout=timeout).call("do", {})
            assert result.error == ToolError("failed", message)

    def test_an_error_that_cannot_be_told_is_contained(self):
        class Silent(Exception):
            def __str__(self) -> str:
                raise RuntimeError

        def fail() -> None:
            raise Silent

        assert tool(fail).call("do", {}).error == ToolError("failed", "Silent")

    def test_a_value_that_cannot_be_written_is_contained(self):
        loop: list[Any] = []
        loop.append(loop)
        assert tool(lambda: loop).call("do", {}).error.kind == "failed"

    def test_an_interrupt_by_the_user_is_not(self):
        def fail() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            tool(fail).call("do", {})

    def test_a_function_that_hangs_is_given_up(self):
        released = threading.Event()
        result = tool(released.wait, timeout=0.01).call("do", {})
        released.set()
        assert result.error is not None
        assert result.error.kind == "timeout"
        assert "0.01 seconds" in result.error.message

    def test_a_timed_call_sees_the_context_of_its_caller(self):
        user = contextvars.ContextVar("user", default="nobody")
        user.set("ann")
        assert tool(user.get, timeout=60).call("do", {}).value == "ann"

    def test_a_tool_without_function(self):
        assert tool(None).call("do", {}).error.kind == "failed"

    def test_references_without_end(self):
        looping = {"type": "object", "properties": {"n": {"$ref": "#/properties/n"}}}
        with pytest.raises(TrimtabError, match="nothing but itself"):
            ToolSpec("do", "", looping, echo)


class TestToolkit:
    def test_whatever_describes_a_tool_does(self):
        def find(query: str) -> str:
            """Find."""
            return query

        schema = {"title": "ask", "type": "object", "properties": {}}
        toolkit = Toolkit([find, schema])
        assert toolkit.names == ["find", "ask"]
        assert toolkit.call("find", {"query": "mug"}).content == "mug"
        assert toolkit.with_tools({**schema, "title": "say"}, find).names == ["find", "ask", "say"]

    def test_names_specs_and_schemas_are_in_order(self, toolkit):
        other = ToolSpec("buy", "Buy.", FILTERED)
        both = toolkit.with_tools(other)
        assert toolkit.names == ["search"]
        assert both.names == [spec.name for spec in both] == ["search", "buy"]
        assert len(both) == 2
        assert "buy" in both
        assert both.spec("buy") is other
        assert both.schemas() == [spec.to_openai() for spec in both]
        with pytest.raises(TrimtabError, match="Did you mean buy"):
            both.spec("bui")

    def test_with_tools_replaces_in_place_and_without_leaves_out(self, toolkit):
        both = toolkit.with_tools(ToolSpec("buy", "Buy.", FILTERED))
        newer = ToolSpec("search", "Newer.", FILTERED)
        assert both.with_tools(newer).names == ["search", "buy"]
        assert both.with_tools(newer).spec("search") is newer
        assert both.without("search").names == ["buy"]
        with pytest.raises(TrimtabError):
            both.without("sell")

    def test_two_of_a_name_are_refused(self):
        spec = ToolSpec("buy", "Buy.", FILTERED)
        with pytest.raises(TrimtabError, match="'buy'"):
            Toolkit([spec, spec])
        with pytest.raises(TrimtabError, match="same name"):
            Toolkit().with_tools(spec, spec)
        with pytest.raises(TrimtabError, match="expected a tool"):
            Toolkit([3])
        with pytest.raises(TrimtabError, match="limit"):
            Toolkit([], limit=3)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["query", "count", "order", "filters", "brand"]) | st.text(), inner
        )
    ),
    max_leaves=12,
)
NEAR = st.fixed_dictionaries(
    {"query": st.sampled_from(["mug", "tea pot", "MUG", ""]) | JSON},
    optional={
        "count": st.integers(-1, 11) | JSON,
        "order": st.sampled_from(["price", "rating"]) | JSON,
        "filters": st.lists(st.fixed_dictionaries({"brand": st.text() | JSON}), max_size=3) | JSON,
    },
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["search", "find", "seach"]) | st.text() | JSON, NEAR | JSON)
def test_any_call_is_answered_and_classified(name, arguments):
    calls: list[dict[str, Any]] = []

    def record(**got: Any) -> str:
        calls.append(got)
        return "found"

    spec = ToolSpec("search", "Search.", FILTERED, record)
    result = Toolkit([spec, replace(spec, name="find")]).call(name, arguments)
    if result.ok:
        assert calls == [arguments]
        assert 2 <= len(arguments["query"]) <= 10
    else:
        assert result.error.kind == (
            "invalid_arguments" if name in ("search", "find") else "unknown_tool"
        )
        assert not calls
        assert "\n" not in result.content
        result.content.encode()


def replace_limit(toolkit: Toolkit, limit: int) -> Toolkit:
    return Toolkit(toolkit, limit=limit)
