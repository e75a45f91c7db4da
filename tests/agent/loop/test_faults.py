"""Whatever a tool does, and whatever a model writes, an episode goes on and says what happened."""

import json
import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langgraph.checkpoint.sqlite import SqliteSaver

from trimtab.agent.calling.calls import ToolCall, format_call, parse_call, parse_calls
from trimtab.agent.chat.messages import to_message
from trimtab.agent.loop.episode import Play, play
from trimtab.agent.loop.plain_values import MOST_CHARACTERS, plain_value
from trimtab.agent.loop.react import read_step
from trimtab.agent.shop.agent import shop_agent
from trimtab.steering.generation.requests import Completion
from trimtab.tools import ToolError, Toolkit, ToolResult, ToolSpec


class Hostile:
    def __str__(self):
        raise RuntimeError("no words")

    __repr__ = __str__


def endless():
    found = []
    found.append(found)
    return found


def deep():
    value = []
    for _ in range(100_000):
        value = [value]
    return value


VALUES = {
    "cyclic": endless,
    "deep": deep,
    "bytes": lambda: {"raw": b"\xff\xfe"},
    "half a character": lambda: ["\ud800", {"\udfff": 1}],
    "hostile": Hostile,
    "numbers": lambda: [float("nan"), float("inf"), 10**400],
    "huge": lambda: "x" * 3_000_000,
    "huge list": lambda: list(range(400_000)),
}


def run_tool(scripted, call, spec, checkpointer=None):
    """One call of the tool in an episode, and then a good call of another one."""

    def fine() -> str:
        """Work."""
        return "fine"

    model = scripted([call(spec.name), call("fine"), call("fine")])
    toolkit = Toolkit([spec, ToolSpec.from_function(fine)])
    agent = shop_agent(model, toolkit, final_tools=["fine"], checkpointer=checkpointer)
    config = {"configurable": {"thread_id": "1"}}
    return model, agent.invoke({"messages": [("user", "hm")]}, config)


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("wrapped", [False, True])
def test_any_value_of_a_tool_can_be_kept_and_shown(tmp_path, scripted, call, name, wrapped):
    def odd() -> object:
        """Return something odd."""
        value = VALUES[name]()
        return ToolResult("odd", value) if wrapped else value

    with SqliteSaver.from_conn_string(str(tmp_path / "kept.sqlite")) as saver:
        model, end = run_tool(scripted, call, ToolSpec.from_function(odd), saver)
    assert end["outcome"] == "done"
    record = json.dumps(end["steps"][0])
    assert len(record) < 3 * MOST_CHARACTERS
    assert len(model.requests[1].messages[-1]["content"]) <= 8_000


def raising() -> str:
    """Fail."""
    raise ZeroDivisionError("one\ntwo")


def exiting() -> str:
    """Leave."""
    raise SystemExit(3)


@pytest.mark.parametrize("function", [raising, exiting])
def test_a_tool_that_raises_costs_a_step(scripted, call, function):
    model, end = run_tool(scripted, call, ToolSpec.from_function(function))
    assert end["steps"][0]["error"]["kind"] == "failed"
    assert model.requests[1].messages[-1]["content"].startswith("Error: ")
    assert end["outcome"] == "done"


def test_a_tool_that_hangs_costs_its_timeout(scripted, call):
    free = threading.Event()

    def hanging() -> str:
        """Wait for what never comes."""
        free.wait()
        return "at last"

    try:
        spec = ToolSpec.from_function(hanging, timeout=0.05)
        _, end = run_tool(scripted, call, spec)
    finally:
        free.set()
    assert end["steps"][0]["error"]["kind"] == "timeout"
    assert end["outcome"] == "done"


def test_a_tool_that_cannot_work_ends_in_a_record(scripted, call):
    spec = ToolSpec.from_function(raising)
    model = scripted(lambda request: call("raising"))
    episode = play(Play(shop_agent(model, Toolkit([spec])), "t", "u", "hm"))
    assert (episode.outcome, len(episode.steps)) == ("gave up", 3)


def test_arguments_that_no_checkpoint_takes_are_still_an_error_of_the_models(
    tmp_path, scripted, call, toolkit
):
    model = scripted(
        [call("rate", stars=10**30), call("find", query="\ud800"), call("rate", stars=1)]
    )
    with SqliteSaver.from_conn_string(str(tmp_path / "kept.sqlite")) as saver:
        agent = shop_agent(model, toolkit, decode="free", final_tools=["rate"], checkpointer=saver)
        config = {"configurable": {"thread_id": "1"}}
        end = agent.invoke({"messages": [("user", "hm")]}, config)
        assert agent.get_state(config).values["steps"] == end["steps"]
    kinds = [step["error"] and step["error"]["kind"] for step in end["steps"]]
    assert kinds == ["invalid_arguments", None, None]


def test_a_value_is_kept_as_json_has_it():
    assert plain_value({"a": (1, {2}), "b": b"hi"}) == {"a": [1, [2]], "b": "aGk="}
    assert plain_value("\ud800") == "?"
    assert "not kept" in plain_value("x" * (MOST_CHARACTERS + 1))
    assert plain_value(None) is None


# ---- 10,000 model outputs: 300 that shrink, 9,700 drawn fast ------------------------------------

GOOD = format_call(ToolCall("rate", {"stars": 3}))
PIECES = [
    *("<tool_call>", "</tool_call>", '{"name": "rate", "arguments": {"stars": 3}}', "```json\n"),
    *("```", "{", "}", "[", "]", '"', "'", ":", ",", "\\", "\\u", "\\ud800", "\n", "rate(", ")"),
    *('"name"', '"arguments"', "find", "rate", "stars=3", "NaN", "-", "1e999", "null", "True"),
    *("Thought: x", "Action:", "Observation:", "<|im_end|>", "\x00", "\ud800", "é", "💥"),
]
DEEP = "{" * 50  # which takes a hundred times as long to read


@st.composite
def broken_call(draw):
    """A good call with a stretch taken out and something else put in."""
    start = draw(st.integers(0, len(GOOD)))
    end = draw(st.integers(start, len(GOOD)))
    piece = draw(st.sampled_from([*PIECES, DEEP]))
    return GOOD[:start] + piece * draw(st.integers(0, 3)) + GOOD[end:]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
ARGUMENTS = st.dictionaries(st.sampled_from(["stars", "query", "x", ""]), JSON, max_size=3)
OUTPUT = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from([*PIECES, DEEP]), max_size=12).map("".join),
    broken_call(),
    st.builds(
        lambda name, arguments: (
            f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}"
        ),
        st.sampled_from(["rate", "find", "sing", ""]),
        JSON | ARGUMENTS,
    ),
)
KINDS = {"unparsable", "unknown_tool", "invalid_arguments", "failed"}


@settings(max_examples=300)
@given(OUTPUT)
def test_any_output_is_classified(text):
    assert _classified(text) in KINDS | {"fine"}


def test_thousands_of_outputs_are_each_classified():
    drawn = random.Random(0)
    found = {text: _classified(text) for text in (drawn_output(drawn) for _ in range(9_700))}
    assert set(found.values()) == KINDS - {"failed"} | {"fine"}


def drawn_output(drawn):
    """As ``OUTPUT``, made faster, and seldom deep."""
    kind = drawn.randrange(4)
    pieces = PIECES if drawn.randrange(50) else [*PIECES, DEEP]
    if kind == 0:
        return drawn_text(drawn, 40)
    if kind == 1:
        return "".join(drawn.choices(pieces, k=drawn.randint(0, 12)))
    if kind == 2:
        start = drawn.randint(0, len(GOOD))
        end = drawn.randint(start, len(GOOD))
        return GOOD[:start] + drawn.choice(pieces) * drawn.randint(0, 3) + GOOD[end:]
    name = drawn.choice(["rate", "find", "sing", ""])
    keys = drawn.sample(["stars", "query", "x", ""], drawn.randint(0, 3))
    arguments = {key: drawn_json(drawn, 2) for key in keys}
    whole = {"name": name, "arguments": drawn.choice([arguments, drawn_json(drawn, 2)])}
    return f"<tool_call>\n{json.dumps(whole)}"


def drawn_text(drawn, longest):
    ends = [0x7F, 0xFF, 0xD7FF, 0x10FFFF]
    letters = (drawn.randint(0, drawn.choice(ends)) for _ in range(drawn.randint(0, longest)))
    return "".join(chr(letter) for letter in letters if not 0xD800 <= letter < 0xE000)


def drawn_json(drawn, depth):
    kind = drawn.randrange(7 if depth else 5)
    if kind == 5:
        return [drawn_json(drawn, depth - 1) for _ in range(drawn.randint(0, 3))]
    if kind == 6:
        keys = (drawn_text(drawn, 8) for _ in range(drawn.randint(0, 3)))
        return {key: drawn_json(drawn, depth - 1) for key in keys}
    plain = [None, True, False, 0, -1, 3, 10**30, 0.5, -1e300, float("nan"), float("inf")]
    return [
        drawn.choice(plain),
        drawn.randint(-9, 9),
        drawn.randint(-(2**70), 2**70),
        drawn.uniform(-1e6, 1e6),
        drawn_text(drawn, 8),
    ][kind]


def _classified(text):
    """What becomes of one output: read, checked, called, as the agent does it."""
    completion = Completion(text, (1,), 1, 0, "stop")
    message = to_message(completion, "call", most_calls=1)
    assert bool(message.tool_calls) != bool(message.invalid_tool_calls)
    read_step(text)
    found = parse_call(text)
    if isinstance(found, ToolError):
        assert message.invalid_tool_calls and not parse_calls(text)
        assert found.kind == "unparsable" and "\n" not in found.message
        return found.kind
    wanted = message.tool_calls[0]
    assert (wanted["name"], json.dumps(wanted["args"])) == (found.name, json.dumps(found.arguments))
    result = TOOLKIT.call(wanted["name"], wanted["args"])
    json.dumps(plain_value(result.value))
    if result.error is None:
        assert TOOLKIT.validate(found.name, found.arguments) is None
        return "fine"
    assert result.content == f"Error: {result.error.message}" and "\n" not in result.error.message
    return result.error.kind


def rate(stars: int) -> str:
    """Rate.

    Args:
        stars: How many.
    """
    return f"{100 // stars}"


def find(query: str) -> str:
    """Find.

    Args:
        query: What.
    """
    return query


TOOLKIT = Toolkit([ToolSpec.from_function(rate), ToolSpec.from_function(find)])
