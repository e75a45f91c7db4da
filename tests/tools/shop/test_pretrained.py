"""The published recommender, against the benchmark's steps written out with plain arrays."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from trimtab.errors import TrimtabError
from trimtab.tools.shop.pretrained import PretrainedRecommender, PublishedFiles, find_published
from trimtab.tools.shop.sasrec import SASRec

PUBLIC = Path(__file__).parents[4] / "shared/data/personalwab"
ITEMS = 40
# Not every item of the network may be recommended, and two ids share a number.
NUMBERS = {f"item{n:02}": n for n in range(3, ITEMS, 2)} | {"again": 7}


@pytest.fixture
def weights():
    torch.manual_seed(3)
    return SASRec(ITEMS, max_length=30, hidden=50, blocks=2, heads=2).state_dict()


@pytest.fixture
def folder(weights, tmp_path):
    torch.save(weights, tmp_path / "pwab.pth")
    (tmp_path / "1000_ids.json").write_text(json.dumps(NUMBERS))
    return tmp_path


@pytest.fixture
def recommender(folder):
    return PretrainedRecommender.load(find_published(folder))


def attend(query, states, weights, name):
    """Causal attention of two heads, padding attended to."""
    size = states.shape[1]
    parts = np.split(weights[f"{name}.in_proj_weight"], 3)
    biases = np.split(weights[f"{name}.in_proj_bias"], 3)
    q, k, v = (
        inputs @ part.T + bias
        for inputs, part, bias in zip((query, states, states), parts, biases, strict=True)
    )
    heads = []
    for head in range(2):
        own = slice(head * size // 2, (head + 1) * size // 2)
        scores = q[:, own] @ k[:, own].T / np.sqrt(size // 2)
        scores[np.triu_indices(len(states), 1)] = -np.inf
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        heads.append(shares / shares.sum(axis=1, keepdims=True) @ v[:, own])
    out = np.concatenate(heads, axis=1)
    return out @ weights[f"{name}.out_proj.weight"].T + weights[f"{name}.out_proj.bias"]


def norm(states, weights, name):
    centred = states - states.mean(axis=1, keepdims=True)
    spread = np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-8)
    return centred / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def expected(weights, sequence, k=10):
    """The benchmark's tool, step by step."""
    weights = {name: tensor.double().numpy() for name, tensor in weights.items()}
    known = [NUMBERS[item] for item in sequence if item in NUMBERS]
    if not known:
        return []
    if len(known) < 4:
        known = [known[0]] * 3 + known
    known = known[-30:]
    padded = np.zeros(30, dtype=int)
    padded[-len(known) :] = known
    states = weights["item_emb.weight"][padded] * np.sqrt(50)
    states = states + weights["pos_emb.weight"][np.arange(1, 31) * (padded != 0)]
    for block in range(2):
        query = norm(states, weights, f"attention_layernorms.{block}")
        states = query + attend(query, states, weights, f"attention_layers.{block}")
        states = norm(states, weights, f"forward_layernorms.{block}")
        name = f"forward_layers.{block}"
        inner = states @ weights[f"{name}.conv1.weight"][:, :, 0].T + weights[f"{name}.conv1.bias"]
        outer = np.maximum(inner, 0) @ weights[f"{name}.conv2.weight"][:, :, 0].T
        states = outer + weights[f"{name}.conv2.bias"] + states
    final = norm(states, weights, "last_layernorm")[-1]
    ranking = np.full(ITEMS, np.inf)
    for number in NUMBERS.values():
        ranking[number - 1] = -(weights["item_emb.weight"][number] @ final)
    names = {number: item for item, number in NUMBERS.items()}
    return [names[number] for number in np.argsort(ranking, kind="stable")[:k] + 1]


@pytest.mark.parametrize(
    "sequence",
    [
        ["item05"],
        ["item05", "unknown", "item09"],
        ["item05", "item09", "item11"],
        ["item05", "item09", "item11", "item05"],
        ["unknown", "again", *(f"item{n:02}" for n in range(3, ITEMS, 2))] * 2,
    ],
)
def test_it_recommends_what_the_benchmark_s_tool_does(recommender, weights, sequence):
    assert recommender.recommend(sequence) == expected(weights, sequence)


def test_what_was_bought_is_recommended_again(recommender):
    sequence = ["item05", "item09", "item11", "item13"]
    everything = recommender.recommend(sequence, k=1000)
    assert set(sequence) < set(everything)
    assert len(everything) == len(set(NUMBERS.values()))


def test_the_last_of_ids_that_share_a_number_is_named(recommender):
    everything = recommender.recommend(["item05"], k=1000)
    assert "again" in everything
    assert "item07" not in everything


def test_nothing_is_recommended_after_nothing_known(recommender):
    assert recommender.recommend([]) == []
    assert recommender.recommend(["unknown"]) == []
    with pytest.raises(TrimtabError, match="k >= 1"):
        recommender.recommend(["item05"], k=0)


@pytest.mark.parametrize(
    ("checkpoint", "index", "data"),
    [
        (".", ".", "."),
        ("recommender", "recommender", "."),
        ("recommender/checkpoint", "recommender/data", "."),
        ("functions/recommender/checkpoint", "functions/recommender/data", "data"),
    ],
)
def test_the_files_are_found_where_people_have_them(tmp_path, checkpoint, index, data):
    assert find_published(tmp_path / data) is None
    for folder, name in ((checkpoint, "pwab.pth"), (index, "1000_ids.json"), (data, "x.json")):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / name).write_text("")
    files = find_published(tmp_path / data)
    assert files.checkpoint.samefile(tmp_path / checkpoint / "pwab.pth")
    assert files.index.samefile(tmp_path / index / "1000_ids.json")


@pytest.mark.parametrize(
    ("kept", "missing"), [("pwab.pth", "1000_ids.json"), ("1000_ids.json", "pwab.pth")]
)
def test_one_file_without_the_other_is_refused(folder, kept, missing):
    (folder / missing).unlink()
    with pytest.raises(TrimtabError) as error:
        find_published(folder)
    assert f"found {folder / kept} but no {folder / missing}" in str(error.value)


class Harmful:
    def __reduce__(self):
        return (open, ("harmed", "w"))


def test_a_pickle_is_not_executed(folder, monkeypatch):
    monkeypatch.chdir(folder)
    torch.save({"item_emb.weight": Harmful()}, folder / "pwab.pth")
    with pytest.raises(TrimtabError, match=r"pwab\.pth is no SASRec state dict of tensors alone"):
        PretrainedRecommender.load(find_published(folder))
    assert not (folder / "harmed").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"[1, 2]"])
def test_a_broken_checkpoint_is_refused_in_one_line(folder, content):
    (folder / "pwab.pth").write_bytes(content)
    with pytest.raises(TrimtabError, match="is no SASRec state dict") as error:
        PretrainedRecommender.load(find_published(folder))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("weights", [{}, [1], torch.zeros(3), {"item_emb.weight": torch.zeros(3)}])
def test_other_weights_are_refused(folder, weights):
    torch.save(weights, folder / "pwab.pth")
    with pytest.raises(TrimtabError, match="is no SASRec state dict"):
        PretrainedRecommender.load(find_published(folder))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "expected a JSON object of item id to integer"),
        ('{"a": "1"}', "expected a JSON object of item id to integer"),
        ('{"a": true}', "expected a JSON object of item id to integer"),
        ("{}", "does not fit"),
        ('{"a": 41}', "from 1 to 40, as the network has; got 41 for 'a'"),
    ],
)
def test_a_broken_index_is_named(folder, content, told):
    (folder / "1000_ids.json").write_text(content)
    with pytest.raises(TrimtabError) as error:
        PretrainedRecommender.load(find_published(folder))
    assert str(folder / "1000_ids.json") in str(error.value)
    assert told in str(error.value)


def test_the_published_index_fits_a_network_of_the_published_size(tmp_path):
    index = PUBLIC / "1000_ids.json"
    if not index.exists():
        pytest.skip(f"no {index}")
    torch.manual_seed(0)
    torch.save(SASRec(104_284).state_dict(), tmp_path / "pwab.pth")
    recommender = PretrainedRecommender.load(PublishedFiles(tmp_path / "pwab.pth", index))
    assert len(recommender.numbers) == 35_772
    assert isinstance(recommender.network.item_emb, nn.Embedding)
    found = recommender.recommend(["B07BYJ3389", "B00DQZ1Z7I"])
    assert len(set(found)) == 10
    assert set(found) < set(recommender.numbers)
