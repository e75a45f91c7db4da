"""A user played by a model: what it is asked, and that its answers share the agents' batches."""

from trimtab.agent.loop.episode import Play, play_episodes
from trimtab.agent.shop.agent import shop_agent
from trimtab.agent.users import Conversation, SimulatedUser, UserGoal
from trimtab.steering.generation.batching import BatchedModel


def agent_and_user(call):
    """One script for both: who is asked shows in the system prompt."""

    def script(request):
        if request.messages[0]["content"].startswith("You play a customer"):
            return f"heard: {request.messages[-1]['content']}"
        said = [m for m in request.messages if m["role"] == "user"]
        return call("respond", content="which?") if len(said) == 1 else call("stop")

    return script


def test_the_model_speaks_for_the_user(scripted):
    model = scripted(["the red one\nand more"])
    reply = SimulatedUser(model).answer(Conversation(UserGoal("search"), "a lamp", ("which?",), ()))
    assert (reply.text, reply.leaves) == ("the red one", False)
    assert model.options["stop"] == ("\n",)
    assert model.requests[0].messages[-1] == {"role": "user", "content": "which?"}
    assert model.requests[0].steering is None and not model.requests[0].tools


def test_users_and_agents_share_batches(scripted, toolkit, call):
    inner = scripted(agent_and_user(call))
    model = BatchedModel(inner)
    agent = shop_agent(model, toolkit, user=SimulatedUser(model))
    plays = [Play(agent, f"t{n}", "ann", "a lamp", user_goal=UserGoal("search")) for n in range(3)]
    ends = [end.value for end in play_episodes(model, plays)]
    assert [len(batch) for batch in inner.batches] == [3, 3, 3]
    assert all(end.steps[0].reply == "heard: which?" for end in ends)


def test_a_user_of_another_model_is_batched_too(scripted, toolkit, call):
    agents, users = scripted(agent_and_user(call)), scripted(agent_and_user(call))
    model = BatchedModel(agents)
    agent = shop_agent(model, toolkit, user=SimulatedUser(BatchedModel(users, beside=model)))
    plays = [Play(agent, f"t{n}", "ann", "a lamp", user_goal=UserGoal("search")) for n in range(3)]
    ends = [end.value for end in play_episodes(model, plays)]
    assert [len(batch) for batch in agents.batches] == [3, 3]
    assert [len(batch) for batch in users.batches] == [3]
    assert all(end.steps[0].reply == "heard: which?" for end in ends)
