"""Vectors in other tools' forms, read back by those tools' own means, and steering as ours does."""

import gguf
import numpy as np
import pytest
import torch

from trimtab import TrimtabError, cli
from trimtab.steering import Point, SteeredModel, Steering, SteeringDictionary, SteeringVectors
from trimtab.steering.store.steering_store import SteeringStore
from trimtab.steering.vectors.control_vector import save_gguf, save_lm_eval
from trimtab.steering.vectors.entries import Entry


@pytest.fixture(scope="module")
def model(tiny_model_folder):
    return SteeredModel.from_pretrained(str(tiny_model_folder), dtype="float32")


def vector(seed):
    return torch.randn(32, generator=torch.Generator().manual_seed(seed))


def logits(model, steering=None):
    ids = torch.arange(5, 25)[None]
    if steering is None:
        return model.hf(ids).logits
    with model.steered([steering]):
        return model.hf(ids).logits


def adding(module, vector):
    def hook(module, args, output):
        if isinstance(output, tuple):
            return (output[0] + vector, *output[1:])
        return output + vector

    return module.register_forward_hook(hook)


def read_gguf(path):
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    return fields, {t.name: torch.from_numpy(np.array(t.data)) for t in reader.tensors}


@pytest.mark.parametrize("site", ["block", "mlp"])
def test_a_control_vector_does_what_ours_does(model, tmp_path, site):
    vectors = SteeringVectors({Point(1, site): vector(1), Point(3, site): vector(3)})
    path = tmp_path / "all.gguf"
    save_gguf(path, vectors, model_type="qwen2", strength=2.5)
    fields, directions = read_gguf(path)
    assert fields["general.architecture"] == "controlvector"
    assert fields["controlvector.model_hint"] == "qwen2"
    assert fields["controlvector.layer_count"] == 2
    assert set(directions) == {"direction.1", "direction.3"}
    # As llama.cpp adds it: to what the layer of that number leaves, at every position.
    hooks = [
        adding(model.parts.layers[int(name.split(".")[1])].block, direction)
        for name, direction in directions.items()
    ]
    found = logits(model)
    for hook in hooks:
        hook.remove()
    ours = logits(model, Steering(vectors, strength=2.5, positions="all"))
    assert torch.allclose(found, ours, atol=1e-4)
    assert not torch.allclose(found, logits(model), atol=1e-2)


def test_two_sites_of_a_layer_are_one_direction(tmp_path):
    both = SteeringVectors({Point(2, "mlp"): vector(1), Point(2, "block"): vector(2)})
    save_gguf(tmp_path / "x.gguf", both, model_type="llama", strength={"mlp": 1.0, "block": 3.0})
    _, directions = read_gguf(tmp_path / "x.gguf")
    assert torch.allclose(directions["direction.2"], vector(1) + 3 * vector(2))


@pytest.mark.parametrize("point", [Point(2, "mid"), Point(2, "attn"), Point(0, "block")])
def test_what_a_control_vector_cannot_say_is_refused(tmp_path, point):
    with pytest.raises(TrimtabError, match="block or mlp of layer 1 or later"):
        save_gguf(tmp_path / "x.gguf", SteeringVectors({point: vector(1)}), model_type="llama")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("site", "name"),
    [("block", "layers.2"), ("mlp", "layers.2.mlp"), ("mid", "layers.2.self_attn")],
)
def test_a_steering_file_of_the_harness_does_what_ours_does(model, tmp_path, site, name):
    vectors = SteeringVectors({Point(2, site): vector(5)})
    path = tmp_path / "steer.pt"
    assert save_lm_eval(path, vectors, model, strength=1.5) == name
    # As the harness loads it, and as it adds it.
    [(hookpoint, steered)] = torch.load(path, weights_only=True).items()
    assert (hookpoint, steered["action"], steered["bias"]) == (name, "add", None)
    module = dict(model.hf.base_model.named_modules())[hookpoint]
    hook = adding(module, steered["steering_coefficient"] * steered["steering_vector"])
    found = logits(model)
    hook.remove()
    ours = logits(model, Steering(vectors, strength=1.5, positions="all"))
    assert torch.allclose(found, ours, atol=1e-4)


def test_the_harness_takes_one_vector_in_a_pt_file(model, tmp_path):
    two = SteeringVectors({Point(1, "block"): vector(1), Point(2, "block"): vector(2)})
    with pytest.raises(TrimtabError, match="one layer and site"):
        save_lm_eval(tmp_path / "x.pt", two, model)
    one = SteeringVectors({Point(1, "block"): vector(1)})
    with pytest.raises(TrimtabError, match="reads a .pt file"):
        save_lm_eval(tmp_path / "x.bin", one, model)


def test_a_stores_mean_is_written_by_a_command(model, tiny_model_folder, tmp_path, capsys):
    def dictionary(user, seed):
        return SteeringDictionary(
            user_id=user,
            fingerprint=model.fingerprint,
            points=(Point(2, "block"),),
            encoder_name=model.encoder.name,
            entries=[Entry("s", "s", "", "response", 1)],
            keys=torch.nn.functional.normalize(torch.ones(1, 384)),
            vectors=vector(seed)[None, None],
        )

    uri = f"sqlite:///{tmp_path / 'users.db'}"
    with SteeringStore(uri, model=model) as store:
        store.put(dictionary("ann", 1), dictionary("bob", 2))
    settings = tmp_path / "settings.toml"
    settings.write_text('[steering]\nsites = ["block"]\ndepths = [0.5]\nstrength = 2.0\n')
    line = ["store", "vector", uri, "--model", str(tiny_model_folder), "--settings", str(settings)]
    assert cli.execute([*line, str(tmp_path / "all.gguf")]) == 0
    assert "layer 2 block" in capsys.readouterr().out
    _, directions = read_gguf(tmp_path / "all.gguf")
    # The store keeps vectors in half precision.
    assert torch.allclose(directions["direction.2"], vector(1) + vector(2), atol=1e-2)
    ann = [*line, str(tmp_path / "ann.pt"), "--to", "lm-eval", "--user", "ann"]
    assert cli.execute(ann) == 0
    [steered] = torch.load(tmp_path / "ann.pt", weights_only=True).values()
    assert torch.allclose(steered["steering_vector"], vector(1), atol=1e-2)
    settings.write_text('[steering]\nsites = ["mlp"]\ndepths = [0.5]\n')
    assert cli.execute([*line, str(tmp_path / "no.gguf")]) == 2
    assert r"holds no vectors at [(2, 'mlp')]" in capsys.readouterr().err
