"""ReAct prompting: thoughts, actions and observations as text, steered where the action starts."""

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from llguidance import LLMatcher, LLTokenizer

from trimtab.agent.calling.calls import call_grammar
from trimtab.agent.loop.episode import Play, play
from trimtab.agent.loop.graph import build_agent
from trimtab.agent.loop.react import as_text, read_step
from trimtab.agent.shop.agent import shop_agent

ANN = {"configurable": {"user_id": "ann"}}


def ask(text="a lamp"):
    return {"messages": [("user", text)]}


def test_a_step_is_a_thought_and_then_an_action(scripted, toolkit, dictionary):
    model = scripted(["They want a\n lamp.", ' {"name": "find", "arguments": {"query": "lamp"}}'])
    agent = shop_agent(
        model, toolkit, prompting="react", store={"ann": dictionary("ann", "a lamp")}
    )
    end = agent.invoke(ask(), ANN)
    assert end["outcome"] == "done"
    [step] = end["steps"]
    assert step["thought"] == "They want a lamp."
    assert step["call"]["arguments"] == {"query": "lamp"}
    thought, action = model.requests
    assert thought.messages[-1] == {"role": "assistant", "content": "Thought:"}
    assert (thought.grammar, thought.steering) == (None, None)
    assert action.messages[-1]["content"] == "Thought: They want a lamp.\nAction:"
    assert action.grammar == call_grammar(toolkit.schemas(), marked=False)
    assert action.steering.picked[0].entry.key == "a lamp"
    assert not thought.tools and '"name": "find"' in thought.messages[0]["content"]
    words = [sum(len(m["content"].split()) for m in r.messages) for r in model.requests]
    assert step["prompt_tokens"] == sum(words)
    assert step["completion_tokens"] == 4 + 5


def test_the_next_step_reads_the_last_one_as_text(scripted, toolkit):
    model = scripted(
        [
            "I rate it.",
            ' {"name": "rate", "arguments": {"stars": 9}}',
            "Five is the most.",
            ' {"name": "rate", "arguments": {"stars": 5}}',
        ]
    )
    end = shop_agent(model, toolkit, prompting="react").invoke(ask())
    assert end["outcome"] == "done"
    _, user, assistant, observed, _ = model.requests[2].messages
    assert user["content"] == "Request: a lamp"
    assert assistant["content"] == (
        'Thought: I rate it.\nAction: {"name": "rate", "arguments": {"stars": 9}}'
    )
    assert observed["role"] == "user"
    assert observed["content"].startswith("Observation: Error: ValueError: five is the most")


@pytest.mark.parametrize(
    ("text", "step"),
    [
        ('Thought: x\nAction: {"name": "a"}', ("x", '{"name": "a"}')),
        ('x\n y Action:\n{"name": "a"}\nObservation: {"name": "b"}', ("x y", '{"name": "a"}')),
        ("just talk", ("just talk", "")),
        ("", ("", "")),
    ],
)
def test_free_text_is_read(text, step):
    assert read_step(text) == step


def test_free_steps_are_one_answer(scripted, toolkit):
    model = scripted(
        [
            "Thought: hm\nAction: sing a song",
            'Thought: find it\nAction: {"name": "find", "arguments": {"query": "lamp"}}',
        ]
    )
    end = shop_agent(model, toolkit, prompting="react", decode="free").invoke(ask())
    assert [s["error"] and s["error"]["kind"] for s in end["steps"]] == ["unparsable", None]
    assert end["steps"][1]["thought"] == "find it"


def test_free_text_without_an_action_is_said_to_the_user(scripted, toolkit):
    class Says:
        def answer(self, conversation):
            assert conversation.heard == ("Which one?",)
            from trimtab.agent.users import Reply

            return Reply("the red one")

    model = scripted(["Thought: Which one?", 'Thought: ok\nAction: {"name": "stop"}'])
    agent = shop_agent(model, toolkit, prompting="react", decode="free", user=Says())
    episode = play(Play(agent, "t", "ann", "a lamp"))
    assert episode.outcome == "done"
    assert [step.call.name for step in episode.steps] == ["respond", "stop"]
    assert model.requests[1].messages[-1] == {"role": "user", "content": "the red one"}


def test_a_conversation_becomes_text_in_turns():
    call = {"name": "find", "args": {"query": "lämp"}, "id": "1"}
    turns = as_text(
        [
            HumanMessage("hi"),
            AIMessage("so", tool_calls=[call]),
            ToolMessage("B1", tool_call_id="1"),
        ]
    )
    assert turns == [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": 'Thought: so\nAction: {"name": "find", "arguments": {"query": "lämp"}}',
        },
        {"role": "user", "content": "Observation: B1"},
    ]


def test_a_step_that_need_not_be_a_call_may_be_an_answer(scripted, toolkit):
    model = scripted(
        [
            "Look for it.",
            'Action: {"name": "find", "arguments": {"query": "lamp"}}',
            "I know enough.",
            "Answer: The red one.",
        ]
    )
    agent = build_agent(model, toolkit, prompting="react", must_call=False)
    end = agent.invoke(ask())
    assert end["outcome"] == "done"
    assert end["messages"][-1].content == "The red one."
    assert [step["call"] and step["call"]["name"] for step in end["steps"]] == ["find", None]
    assert "Answer: what you say" in model.requests[0].messages[0]["content"]
    grammar = model.requests[1].grammar
    assert model.requests[1].messages[-1]["content"] == "Thought: Look for it.\n"
    for text in (
        'Action: {"name": "find", "arguments": {"query": "lamp"}}',
        "Answer: The red one, or {two}.",
    ):
        assert accepts(grammar, text)
    for text in ("Answer: Hm. Action: x", 'Answer: {"name": "find"}', "The red one."):
        assert not accepts(grammar, text)


def test_words_alone_are_asked_for_without_the_tools(scripted, toolkit):
    same = ["Look.", 'Action: {"name": "find", "arguments": {"query": "lamp"}}']
    model = scripted([*same, *same, "It is red."])
    end = build_agent(model, toolkit, prompting="react", must_call=False).invoke(ask())
    assert end["messages"][-1].content == "It is red."
    last = model.requests[-1]
    assert last.messages[-1]["content"] == "Answer:" and "find" not in last.messages[0]["content"]
    assert accepts(last.grammar, " It is red.") and not accepts(last.grammar, " Observation: x")


def test_a_free_answer_is_read_without_its_thought(scripted, toolkit):
    model = scripted(["Thought: easy\nAnswer: The red one.", "Thought: just so"])
    agent = build_agent(model, toolkit, prompting="react", must_call=False, decode="free")
    assert agent.invoke(ask())["messages"][-1].content == "The red one."
    assert agent.invoke(ask())["messages"][-1].content == "just so"


def accepts(grammar, text):
    matcher = LLMatcher(LLTokenizer("byte"), grammar, log_level=0)
    return matcher.consume_tokens(list(text.encode())) and matcher.is_accepting()
