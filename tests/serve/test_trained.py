"""What was trained for a user is applied under their vectors, by the server as by the model."""

import pytest
import torch
from openai import OpenAI

from trimtab.errors import TrimtabError
from trimtab.serve.opening import open_service
from trimtab.steering.generation.requests import Request
from trimtab.steering.store.steering_store import SteeringStore
from trimtab.steering.store.trained import keep_stages
from trimtab.steering.vectors.low_rank import Shift, Stage, save_stages
from trimtab.steering.vectors.steering import Steering

from .conftest import SETTINGS, running

ASK = [{"role": "user", "content": "Which lamp?"}]


def shift(seed: int) -> Stage:
    generator = torch.Generator().manual_seed(seed)
    return Stage({1: Shift(3 * torch.randn(32, generator=generator))}, "all")


def test_what_was_trained_is_served(served_model, tmp_path) -> None:
    place, file = tmp_path / "users.db", tmp_path / "phi.safetensors"
    common, own = shift(1), shift(2)
    save_stages(file, [common], fingerprint=served_model.fingerprint)
    with SteeringStore(place) as store:
        for user in ("ann", "eve"):
            keep_stages(store, user, "perfit", [own], fingerprint=served_model.fingerprint)
        store.switch("eve", enabled=False)

    def expected(*stages):
        steering = Steering.by_stages(stages) if stages else None
        [found] = served_model.generate([Request(ASK, steering=steering)], max_new_tokens=12)
        return found.text

    texts = [expected(common, own), expected(common), expected()]
    assert len(set(texts)) == 3
    service = open_service(
        served_model, place, settings=SETTINGS, name="tiny", trained="perfit", shared=file
    )
    with running(service) as url:
        client = OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)

        def asked(user, **more):
            answer = client.chat.completions.create(
                model="tiny", messages=ASK, max_tokens=12, user=user, **more
            )
            block = answer.steering
            return answer.choices[0].message.content, block["whose"], block["trained"]

        assert asked("ann") == (texts[0], "own", 2)
        assert asked("bob") == (texts[1], "shared", 1)
        assert asked("eve") == (texts[2], "nothing", 0)
        assert asked("ann", extra_body={"steering": {"whose": "off"}}) == (texts[2], "nothing", 0)


def test_interventions_of_another_model_are_refused(served_model, tmp_path) -> None:
    file = tmp_path / "phi.safetensors"
    save_stages(file, [shift(1)], fingerprint="another")
    with pytest.raises(TrimtabError, match="trained for another model"):
        open_service(served_model, tmp_path / "users.db", settings=SETTINGS, shared=file)
    with pytest.raises(TrimtabError, match="cannot read interventions"):
        open_service(served_model, tmp_path / "a.db", settings=SETTINGS, shared=tmp_path / "none")
