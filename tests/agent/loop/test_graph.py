"""The agent's loop: what the model is shown, when it tries again, when it stops, what is kept."""

import json

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command, interrupt

from trimtab.agent.loop.memory import Memory, PastRequest
from trimtab.agent.loop.prompt import SYSTEM_PROMPT
from trimtab.agent.shop.agent import shop_agent
from trimtab.errors import TrimtabError
from trimtab.steering.dictionaries.settings import SteeringSettings
from trimtab.tools import Toolkit

ANN = {"configurable": {"user_id": "ann"}}


def ask(text, **more):
    return {"messages": [("user", text)], **more}


def test_one_good_call_is_one_episode(scripted, toolkit, call):
    model = scripted([call("find", query="rain coat")])
    end = shop_agent(model, toolkit).invoke(ask("a coat"))
    assert end["outcome"] == "done"
    human, answer, result = end["messages"]
    assert isinstance(human, HumanMessage) and human.content == "Request: a coat"
    assert isinstance(answer, AIMessage) and answer.tool_calls[0]["name"] == "find"
    assert isinstance(result, ToolMessage) and result.status == "success"
    assert result.tool_call_id == answer.tool_calls[0]["id"]
    [step] = end["steps"]
    assert step["call"]["arguments"] == {"query": "rain coat"}
    assert step["value"] == ["rain-0", "coat-1"]
    assert step["error"] is None
    assert (
        answer.usage_metadata["total_tokens"] == step["prompt_tokens"] + step["completion_tokens"]
    )


def test_the_model_is_shown_tools_a_static_prompt_and_a_grammar(scripted, toolkit, call):
    model = scripted([call("rate", stars=3)])
    shop_agent(model, toolkit).invoke(ask("hm", purchases=["B1: Desk"]))
    [request] = model.requests
    assert request.messages[0] == {"role": "system", "content": SYSTEM_PROMPT}
    assert request.messages[1]["role"] == "user"
    assert request.messages[1]["content"].startswith("My recent purchases")
    assert request.messages[1]["content"].endswith("Request: hm")
    assert list(request.tools) == toolkit.schemas()
    assert request.grammar
    assert request.steering is None


def test_a_free_call_has_no_grammar(scripted, toolkit, call):
    model = scripted([call("rate", stars=3)])
    end = shop_agent(model, toolkit, decode="free").invoke(ask("hm"))
    assert model.requests[0].grammar is None
    assert end["outcome"] == "done"


def test_an_invalid_call_is_answered_with_its_error_and_tried_again(scripted, toolkit, call):
    model = scripted([call("rate", stars="many"), call("sing", song="x"), call("rate", stars=4)])
    end = shop_agent(model, toolkit, decode="free").invoke(ask("rate it"))
    assert end["outcome"] == "done"
    assert [step["error"] and step["error"]["kind"] for step in end["steps"]] == [
        "invalid_arguments",
        "unknown_tool",
        None,
    ]
    shown = model.requests[1].messages
    assert [message["role"] for message in shown] == ["system", "user", "assistant", "tool"]
    assert shown[2]["tool_calls"][0]["function"] == {
        "name": "rate",
        "arguments": '{"stars": "many"}',
    }
    assert "expected an integer" in shown[3]["content"]
    assert [m.status for m in end["messages"] if isinstance(m, ToolMessage)] == [
        "error",
        "error",
        "success",
    ]


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_the_agent_gives_up_after_its_retries(scripted, toolkit, call, retries):
    model = scripted(lambda request: call("rate", stars="many"))
    end = shop_agent(model, toolkit, max_retries=retries).invoke(ask("rate it"))
    assert end["outcome"] == "gave up"
    assert len(model.requests) == len(end["steps"]) == retries + 1


def test_an_answer_without_a_call_is_told_so(scripted, toolkit, call):
    model = scripted(["I cannot help.", call("rate", stars=1)])
    end = shop_agent(model, toolkit, decode="free").invoke(ask("rate it"))
    assert [step["call"] is None for step in end["steps"]] == [True, False]
    assert end["steps"][0]["text"] == "I cannot help."
    assert end["steps"][0]["error"]["kind"] == "unparsable"
    shown = model.requests[1].messages
    assert shown[2]["content"] == "I cannot help."
    assert shown[3]["role"] == "tool" and shown[3]["content"].startswith("Error")


def test_a_tool_that_raises_is_an_error_and_not_an_exception(scripted, toolkit, call):
    model = scripted([call("rate", stars=9), call("rate", stars=5)])
    end = shop_agent(model, toolkit).invoke(ask("rate it"))
    assert end["steps"][0]["error"]["kind"] == "failed"
    assert end["outcome"] == "done"


def test_only_a_final_tool_ends_the_episode(scripted, toolkit, call):
    model = scripted([call("find", query="a"), call("find", query="b"), call("rate", stars=2)])
    end = shop_agent(model, toolkit, final_tools=["rate"]).invoke(ask("find and rate"))
    assert [step["call"]["name"] for step in end["steps"]] == ["find", "find", "rate"]
    assert end["outcome"] == "done"


def test_the_step_limit_ends_the_episode(scripted, toolkit, call):
    model = scripted(lambda request: call("find", query="more"))
    end = shop_agent(model, toolkit, final_tools=["rate"], step_limit=4).invoke(ask("find"))
    assert end["outcome"] == "step limit"
    assert len(model.requests) == 4


def test_each_step_is_steered_by_the_users_own_dictionary(scripted, toolkit, call, dictionary):
    model = scripted([call("rate", stars="x"), call("rate", stars=1)])
    agent = shop_agent(
        model,
        toolkit,
        store={"ann": dictionary("ann", "coat", "lamp"), "bob": dictionary("bob", "coat")},
        settings=SteeringSettings(sites=("block",), k=1, strength=2.0),
    )
    end = agent.invoke(ask("a coat"), ANN)
    assert [request.steering.picked[0].entry.sample_id for request in model.requests] == [
        "ann-0",
        "ann-0",
    ]
    assert model.requests[0].steering.strength == 2.0
    [picked] = end["steps"][0]["picked"]
    assert (picked["sample_id"], picked["key"], picked["weight"]) == ("ann-0", "coat", 1.0)
    assert 0 < picked["similarity"] < 1


def test_the_users_own_words_are_the_query_not_the_whole_prompt(
    scripted, toolkit, call, dictionary
):
    model = scripted([call("rate", stars=1)])
    agent = shop_agent(
        model,
        toolkit,
        store={"ann": dictionary("ann", "zzz", "coat")},
        settings=SteeringSettings(sites=("block",), k=1),
    )
    agent.invoke(ask("a coat", purchases=["zzz zzz zzz"]), ANN)
    assert model.requests[0].steering.picked[0].entry.key == "coat"


def test_nothing_of_the_tasks_time_or_later_is_picked_or_recalled(
    scripted, toolkit, call, dictionary
):
    model = scripted(lambda request: call("rate", stars=1))
    past = [PastRequest(f"old {n}", "rate", timestamp=n) for n in range(4)]
    agent = shop_agent(
        model,
        toolkit,
        store={"ann": dictionary("ann", "coat", "coat", "coat", "coat")},
        memory=Memory(lambda user_id, before: past, "full"),
    )
    end = agent.invoke(ask("a coat", before=2), ANN)
    assert {p["sample_id"] for p in end["steps"][0]["picked"]} == {"ann-0", "ann-1"}
    assert end["remembered"] == ['"old 0" -> rate()', '"old 1" -> rate()']
    assert "old 1" in model.requests[0].messages[1]["content"]
    assert "old 2" not in json.dumps(model.requests[0].messages)
    nothing_yet = agent.invoke(ask("a coat", before=0), ANN)
    assert nothing_yet["steps"][0]["picked"] == []
    assert model.requests[-1].steering is None


def test_a_user_without_a_dictionary_is_not_steered(scripted, toolkit, call, dictionary):
    model = scripted([call("rate", stars=1)])
    agent = shop_agent(model, toolkit, store={"bob": dictionary("bob", "coat")})
    agent.invoke(ask("a coat"), ANN)
    assert model.requests[0].steering is None


def test_the_user_may_come_in_the_input_and_must_come_in_somehow(
    scripted, toolkit, call, dictionary
):
    model = scripted(lambda request: call("rate", stars=1))
    agent = shop_agent(model, toolkit, store={"ann": dictionary("ann", "coat")})
    agent.invoke(ask("a coat", user_id="ann"))
    assert model.requests[0].steering is not None
    with pytest.raises(TrimtabError, match="user_id"):
        agent.invoke(ask("a coat"))
    remembering = shop_agent(model, toolkit, memory=Memory(lambda u, b: [], "last"))
    with pytest.raises(TrimtabError, match="user_id"):
        remembering.invoke(ask("a coat"))


def test_keys_of_another_encoder_are_refused(scripted, toolkit, call, dictionary):
    foreign = dictionary("ann", "coat")
    foreign.encoder_name = "words"
    with pytest.raises(TrimtabError, match="encoder 'words'"):
        shop_agent(scripted([call("rate", stars=1)]), toolkit, store={"ann": foreign})


def test_a_checkpoint_holds_no_vectors_and_a_resumed_episode_is_steered(
    scripted, toolkit, call, dictionary
):
    fails = [True]

    def script(request):
        if fails:
            fails.pop()
            raise RuntimeError("the power went out")
        return call("rate", stars=1)

    model = scripted(script)
    saver = InMemorySaver()

    def agent():
        return shop_agent(
            model, toolkit, store={"ann": dictionary("ann", "coat")}, checkpointer=saver
        )

    config = {"configurable": {"user_id": "ann", "thread_id": "1"}}
    with pytest.raises(RuntimeError):
        agent().invoke(ask("a coat"), config)
    snapshot = agent().get_state(config)
    assert snapshot.next == ("act",)
    assert snapshot.values["picked"][0]["sample_id"] == "ann-0"
    assert "steering" not in snapshot.values
    assert all("vectors" not in str(item.checkpoint) for item in saver.list(config))

    end = agent().invoke(None, config)
    assert end["outcome"] == "done"
    first, again = model.requests
    assert again.steering is not None
    assert again.steering.picked == first.steering.picked


def test_a_second_request_in_the_same_thread_starts_a_new_episode(scripted, toolkit, call):
    model = scripted([call("rate", stars="x"), call("rate", stars=1), call("find", query="b")])
    agent = shop_agent(model, toolkit, checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    agent.invoke(ask("first"), config)
    end = agent.invoke(ask("second"), config)
    assert [step["call"]["name"] for step in end["steps"]] == ["find"]
    assert "Request: first" in model.requests[-1].messages[1]["content"]
    assert model.requests[-1].messages[-1]["content"] == "Request: second"


def test_any_value_of_a_tool_becomes_plain_data(scripted, call):
    from trimtab.tools import Toolkit, ToolSpec

    def odd() -> object:
        """Return something odd."""
        return {"set": {1}, "object": object(), "number": float("inf")}

    model = scripted([call("odd")])
    end = shop_agent(model, Toolkit([ToolSpec.from_function(odd)])).invoke(ask("odd"))
    json.dumps(end["steps"][0]["value"])
    assert end["steps"][0]["value"]["set"] == [1]


def test_nodes_are_those_that_the_design_names(scripted, toolkit):
    names = set(shop_agent(scripted([]), toolkit).get_graph().nodes)
    assert names == {"__start__", "recall", "steer", "act", "call", "observe", "__end__"}


def test_what_cannot_work_is_refused(scripted, toolkit):
    with pytest.raises(TrimtabError, match="find, rate"):
        shop_agent(scripted([]), toolkit, final_tools=["stop"])
    with pytest.raises(TrimtabError, match="constrained or free"):
        shop_agent(scripted([]), toolkit, decode="loose")
    with pytest.raises(TrimtabError, match="step_limit"):
        shop_agent(scripted([]), toolkit, step_limit=0)
    with pytest.raises(TrimtabError, match="message of the user"):
        shop_agent(scripted([]), toolkit).invoke({"messages": [("ai", "hello")]})


def test_a_tool_that_asks_a_person_pauses_the_graph(scripted, call):
    def pay(euros: int) -> str:
        """Pay."""
        return f"paid {euros}: {interrupt('really?')}"

    agent = shop_agent(
        scripted([call("pay", euros=5)]), Toolkit([pay]), checkpointer=InMemorySaver()
    )
    config = {"configurable": {"thread_id": "1", "user_id": "ann"}}
    paused = agent.invoke(ask("pay five"), config)
    assert paused["__interrupt__"][0].value == "really?"
    end = agent.invoke(Command(resume="yes"), config)
    assert end["steps"][0]["content"] == "paid 5: yes"
    assert [step["error"] for step in end["steps"]] == [None]
