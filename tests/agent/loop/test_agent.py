"""An agent that is no shop's: it calls tools, reads results, and ends in words."""

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from trimtab.agent import build_agent
from trimtab.agent.loop.graph import END
from trimtab.agent.loop.nodes import Nodes
from trimtab.agent.loop.prompt import plain_request, user_message
from trimtab.errors import TrimtabError
from trimtab.steering import SteeringSettings, steer_by
from trimtab.tools import Toolkit


def ask(text="a coat for Oslo?", **more):
    return {"messages": [("user", text)], **more}


def test_a_result_is_answered_in_words(scripted, toolkit, call):
    model = scripted([call("rate", stars=3), "You rated it 3."])
    end = build_agent(model, toolkit, system="Be kind.").invoke(ask())
    assert end["outcome"] == "done"
    assert end["messages"][-1].content == "You rated it 3."
    assert [type(m) for m in end["messages"]] == [HumanMessage, AIMessage, ToolMessage, AIMessage]
    first, second = model.requests
    assert [m["role"] for m in second.messages] == ["system", "user", "assistant", "tool"]
    assert first.messages[0] == {"role": "system", "content": "Be kind."}
    assert first.messages[1]["content"] == "a coat for Oslo?"
    assert first.grammar and first.grammar == second.grammar  # a call or words
    said = end["steps"][-1]
    assert (said["call"], said["text"], said["error"]) == (None, "You rated it 3.", None)


def test_without_a_system_prompt_none_is_shown(scripted, toolkit):
    model = scripted(["Hello."])
    end = build_agent(model, toolkit).invoke(ask("hi"))
    assert [m["role"] for m in model.requests[0].messages] == ["user"]
    assert (end["outcome"], end["messages"][-1].content) == ("done", "Hello.")
    assert list(model.requests[0].tools) == toolkit.schemas()


def test_tools_are_called_one_after_the_other_up_to_the_limit(scripted, toolkit, call):
    words = iter("abcdefgh")
    model = scripted(lambda request: call("find", query=next(words)))
    end = build_agent(model, toolkit, step_limit=5).invoke(ask())
    assert (end["outcome"], len(end["steps"])) == ("step limit", 5)


def test_a_final_tool_ends_the_episode_too(scripted, toolkit, call):
    model = scripted([call("find", query="a"), call("rate", stars=2)])
    end = build_agent(model, toolkit, final_tools=["rate"]).invoke(ask())
    assert (end["outcome"], len(end["steps"])) == ("done", 2)


def test_a_call_that_is_repeated_word_for_word_is_not_made(scripted, call):
    paid = []

    def pay(euros: int) -> str:
        """Pay."""
        paid.append(euros)
        return f"paid {euros}"

    again = scripted([call("pay", euros=5), call("pay", euros=5), "Paid."])
    end = build_agent(again, Toolkit([pay])).invoke(ask())
    assert (paid, end["messages"][-1].content) == ([5], "Paid.")
    assert again.requests[-1].tools == () and again.requests[0].tools  # words alone
    wordless = scripted(lambda request: call("pay", euros=7))
    end = build_agent(wordless, Toolkit([pay])).invoke(ask())
    assert (paid, end["outcome"]) == ([5, 7], "done")
    assert end["messages"][-1].content == "paid 7"
    other = scripted([call("pay", euros=1), call("pay", euros=2), "Both."])
    build_agent(other, Toolkit([pay])).invoke(ask())
    assert paid == [5, 7, 1, 2]


def test_a_failed_call_may_be_tried_again(scripted, toolkit, call):
    model = scripted([call("rate", stars=9), call("rate", stars=9), "No."])
    end = build_agent(model, toolkit).invoke(ask())
    assert [step["error"] and step["error"]["kind"] for step in end["steps"]] == [
        "failed",
        "failed",
        None,
    ]


def test_a_resumed_tool_runs_no_other_call_again(scripted, call):
    ran = []

    def look(at: str) -> str:
        """Look."""
        ran.append(at)
        return at

    def pay(euros: int) -> str:
        """Pay."""
        ran.append(euros)
        return f"paid {euros}: {interrupt('really?')}"

    model = scripted([call("look", at="x"), call("pay", euros=5), "Done: paid 5."])
    agent = build_agent(model, Toolkit([look, pay]), checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    paused = agent.invoke(ask(), config)
    assert paused["__interrupt__"][0].value == "really?"
    assert agent.get_state(config).next == ("call",)
    end = agent.invoke(Command(resume="yes"), config)
    assert ran == ["x", 5, 5] and len(model.requests) == 3
    assert [m.content for m in end["messages"][-2:]] == ["paid 5: yes", "Done: paid 5."]


def test_every_step_is_steered_by_the_function_that_is_given(scripted, toolkit, call, dictionary):
    model = scripted([call("rate", stars=3), "Fine."])
    asked = []

    def steer(user, query, before=None):
        asked.append((user, query, before))
        return None

    build_agent(model, toolkit, steer=steer).invoke(ask("hm", user_id=7, before=3))
    assert asked == [("7", "hm", 3)] * 2
    with pytest.raises(TrimtabError, match="got both"):
        build_agent(model, toolkit, steer=steer, store={})


def test_only_the_settings_points_reach_the_request(scripted, toolkit, dictionary):
    model = scripted(["a", "b"])
    store = {"7": dictionary("7", "coat")}
    end = build_agent(model, toolkit, store=store).invoke(ask(user_id=7))
    assert end["steps"][0]["picked"] and model.requests[0].steering.positions == "answer"
    assert model.requests[0].steering.strength == 1.0
    block = SteeringSettings(sites=("block",))
    steered = build_agent(model, toolkit, steer=steer_by(store, block, model=model))
    assert steered.invoke(ask(user_id=7))["steps"][0]["picked"]
    with pytest.raises(TrimtabError, match=r"no vectors at \[\(1, 'mid'\)"):
        build_agent(model, toolkit, store=store, settings=SteeringSettings())


def test_what_is_remembered_stands_above_the_request():
    assert plain_request("hi") == "hi"
    shown = plain_request("hi", memory=["x"])
    assert shown == user_message("hi", memory=["x"])


def test_nodes_can_be_called_alone(scripted, toolkit, call):
    nodes = Nodes(
        model=scripted([call("rate", stars=4)]),
        toolkit=toolkit,
        steer=None,
        memory=None,
        user=None,
        system=None,
        show_request=plain_request,
        prompting="call",
        constrained=True,
        must_call=False,
        final_tools=frozenset(),
        max_retries=2,
        step_limit=8,
        max_new_tokens=16,
    )
    state = {"messages": [HumanMessage("rate it", id="1")]}
    state |= nodes.recall(state, {})
    assert (state["request"], state["steps"]) == ("rate it", [])
    state |= nodes.choose_steering(state, {})
    assert state["steering"] is None and state["picked"] == []
    acted = nodes.act(state, {})
    assert acted.goto == "call"
    [message] = acted.update["messages"]
    state["messages"] = [*state["messages"], message]
    state |= nodes.call(state, {})
    assert state["result"]["value"] == "rated 4"
    seen = nodes.observe({**state, "remaining_steps": 20})
    assert seen.goto == "steer" and seen.update["outcome"] is None
    assert nodes.observe({**state, "remaining_steps": 4}).goto == END
