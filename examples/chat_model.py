"""A chat model, steered for the user at hand, in a LangGraph agent.

python examples/chat_model.py [MODEL]
"""

import sys

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from trimtab import SteeredChatModel, SteeredModel, SteeringDictionary
from trimtab.steering import ContrastPair, Exchange


def opening_hours(day: str) -> str:
    """Tell when the shop is open.

    Args:
        day: Of the week.
    """
    return f"9 to 5 on {day}"


def dictionary_of(model: SteeredModel, user: str, answer: str) -> SteeringDictionary:
    """What one past answer of a user, against a plain one, says of how they write."""
    ask = [{"role": "user", "content": "How are you?"}]
    pair = ContrastPair(
        sample_id=f"{user}-1",
        request="How are you?",
        positive=Exchange(ask, answer),
        negative=Exchange(ask, "I am well, thank you."),
    )
    layers = [model.layer_at(0.72)]
    return SteeringDictionary.build(model, [pair], user_id=user, sites=("mid",), layers=layers)


def main(name: str = "qwen2.5-coder-0.5b-instruct") -> dict[str, str]:
    """Ask for two users, each in a thread of their own, and print the answers."""
    model = SteeredModel.from_pretrained(name)
    store = {
        user: dictionary_of(model, user, answer)
        for user, answer in {
            "ann": "so good!! and you??",
            "bob": "Quite well. And yourself?",
        }.items()
    }
    chat = SteeredChatModel(model, store=store, max_tokens=24)
    bound = chat.bind_tools([opening_hours])

    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [bound.invoke(state["messages"])]})
    graph.add_node("tools", ToolNode([opening_hours]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    agent = graph.compile(checkpointer=InMemorySaver())

    answers = {}
    for user in store:
        config = {"configurable": {"user_id": user, "thread_id": user}, "recursion_limit": 8}
        end = agent.invoke({"messages": [("user", "Say hello.")]}, config)
        answers[user] = end["messages"][-1].text
        print(f"{user}: {answers[user]}")
    return answers


if __name__ == "__main__":
    main(*sys.argv[1:])
