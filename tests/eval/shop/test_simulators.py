"""The users of the multi-turn track, by name."""

import pytest

from trimtab.agent.users import EndpointUser, ScriptedUser, SimulatedUser
from trimtab.errors import TrimtabError
from trimtab.eval.shop.simulators import SIMULATORS, Simulator
from trimtab.steering.generation.batching import BatchedModel


def test_each_name_is_a_user(scripted):
    agents = BatchedModel(scripted([]))
    other = scripted([])
    assert isinstance(Simulator().user(agents), ScriptedUser)
    own = Simulator("model").user(agents)
    assert isinstance(own, SimulatedUser) and own.model is agents
    beside = Simulator("model", "other", loaded=other).user(agents)
    assert beside.model.model is other and beside.model is not agents
    far = Simulator("endpoint", "gpt", "http://localhost:1/v1").user(agents)
    assert isinstance(far, EndpointUser) and (far.model, far.url) == (
        "gpt",
        "http://localhost:1/v1",
    )
    assert set(SIMULATORS) == {"scripted", "model", "endpoint"}


def test_what_decides_the_results_is_in_the_configuration():
    assert Simulator("endpoint", "gpt", "http://x/v1").configuration() == {
        "kind": "endpoint",
        "model": "gpt",
        "url": "http://x/v1",
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("parrot",), "expected a user simulator scripted, model, endpoint; got 'parrot'"),
        (("endpoint",), "--user-url"),
        (("endpoint", "gpt"), "--user-url"),
        (("scripted", "gpt"), "'scripted' has no use for a model"),
        (("model", "gpt", "http://x/v1"), "'model' has no use for an endpoint"),
    ],
)
def test_what_cannot_play_a_user_is_refused(given, said):
    with pytest.raises(TrimtabError, match=said):
        Simulator(*given)
