"""Building, picking and keeping a dictionary, against the formulas written out again."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trimtab import TrimtabError
from trimtab.steering import (
    ContrastPair,
    Exchange,
    Picked,
    Point,
    SteeredModel,
    SteeringDictionary,
    build_dictionaries,
)


def pair(n: int, *, rejected: str = "w60 w61", user: int = 0) -> ContrastPair:
    messages = [{"role": "user", "content": f"w{20 + n + 10 * user} w7"}]
    return ContrastPair(
        sample_id=f"s{n}",
        request=f"request {n} of a lamp" if n % 2 else f"request {n} of a boat",
        positive=Exchange(messages, f"w{50 + n} w51 w52"),
        negative=Exchange(messages, rejected),
        timestamp=n,
    )


@pytest.fixture
def dictionary(tiny_steered: SteeredModel) -> SteeringDictionary:
    return SteeringDictionary.build(
        tiny_steered,
        [pair(n) for n in range(6)],
        user_id="ada",
        layers=[1, 2],
        sites=("attn", "mlp"),
    )


def test_vectors_are_chosen_minus_rejected_averaged_over_a_samples_pairs(
    tiny_steered: SteeredModel,
) -> None:
    pairs = [pair(1), pair(1, rejected="w70"), pair(2)]
    built = SteeringDictionary.build(
        tiny_steered, pairs, user_id="ada", layers=[1], sites=["block"]
    )

    def mean(exchange: Exchange) -> torch.Tensor:
        prompt = tiny_steered.prompt_tokens(exchange.messages)
        answer = tiny_steered.tokenizer(exchange.answer)["input_ids"]
        with torch.inference_mode():
            states = tiny_steered.hf(
                torch.tensor([[*prompt, *answer]]), output_hidden_states=True
            ).hidden_states
        return states[2][0, len(prompt) :].mean(dim=0)  # after layer 1

    expected = [mean(p.positive) - mean(p.negative) for p in pairs]
    assert [entry.sample_id for entry in built.entries] == ["s1", "s2"]
    torch.testing.assert_close(
        built.vectors[:, 0],
        torch.stack([(expected[0] + expected[1]) / 2, expected[2]]),
        atol=1e-4,
        rtol=1e-4,
    )


def test_building_many_users_at_once_is_building_each(tiny_steered: SteeredModel) -> None:
    pairs = {f"u{u}": [pair(n, user=u) for n in range(3)] for u in range(2)}
    together = build_dictionaries(tiny_steered, pairs, layers=[2], sites=["mid"])
    for user_id, own in pairs.items():
        alone = SteeringDictionary.build(
            tiny_steered, own, user_id=user_id, layers=[2], sites=["mid"]
        )
        torch.testing.assert_close(together[user_id].vectors, alone.vectors, atol=1e-5, rtol=1e-4)
        assert together[user_id].entries == alone.entries


def test_of_several_wrong_answers_the_models_own_likeliest_is_taken(
    tiny_steered: SteeredModel,
) -> None:
    wrong = [f"w{n}" for n in range(60, 72)]
    candidates = {
        user: [pair(n, rejected=answer, user=place) for n in range(6) for answer in wrong]
        for place, user in enumerate(["ada", "bob"])
    }
    # Chosen beforehand, by one plain pass an answer.
    chosen: dict[str, list[ContrastPair]] = {user: [] for user in candidates}
    for user, own in candidates.items():
        for n in range(6):
            same = [p for p in own if p.sample_id == f"s{n}"]
            scores = []
            for each in same:
                prompt = tiny_steered.prompt_tokens(each.negative.messages)
                answer = tiny_steered.tokenizer(each.negative.answer)["input_ids"]
                with torch.inference_mode():
                    logits = tiny_steered.hf(torch.tensor([[*prompt, *answer]])).logits[0]
                logs = logits.log_softmax(-1)[len(prompt) - 1 : -1]
                scores.append(float(logs[range(len(answer)), answer].sum()))
            chosen[user].append(same[max(range(len(same)), key=scores.__getitem__)])
    assert len({p.negative.answer for own in chosen.values() for p in own}) > 1
    expected = build_dictionaries(tiny_steered, chosen, layers=[1, 2], sites=["mid", "mlp"])
    found = build_dictionaries(
        tiny_steered, candidates, layers=[1, 2], sites=["mid", "mlp"], rejected="likeliest"
    )
    for user, dictionary in expected.items():
        assert found[user].entries == dictionary.entries
        torch.testing.assert_close(found[user].vectors, dictionary.vectors, atol=1e-5, rtol=1e-4)
        assert torch.equal(found[user].keys, dictionary.keys)


def test_attentive_selection_is_softmax_of_cosine_over_a_tenth(
    dictionary: SteeringDictionary,
) -> None:
    query = torch.nn.functional.normalize(dictionary.keys[3] + 0.3 * dictionary.keys[0], dim=0)
    steering = dictionary.select(query, k=3)
    assert steering is not None
    cosines = [float(key @ query) for key in dictionary.keys]
    best = sorted(range(6), key=lambda n: -cosines[n])[:3]
    exponents = torch.tensor([cosines[n] / 0.1 for n in best]).exp()
    weights = exponents / exponents.sum()
    assert [p.entry.sample_id for p in steering.picked] == [f"s{n}" for n in best]
    torch.testing.assert_close(torch.tensor([p.weight for p in steering.picked]), weights)
    for column, point in enumerate(dictionary.points):
        expected = sum(
            w * dictionary.vectors[n, column] for w, n in zip(weights, best, strict=True)
        )
        torch.testing.assert_close(steering.vectors.values[point], expected)


def test_mean_and_naive_aggregation(dictionary: SteeringDictionary) -> None:
    query = dictionary.keys[3]
    naive = dictionary.select(query, k=2, aggregate="naive")
    mean = dictionary.select(query, k=2, aggregate="mean")
    assert naive is not None and mean is not None
    assert len(naive.picked) == 6 and len(mean.picked) == 2
    torch.testing.assert_close(
        naive.vectors.values[Point(1, "mlp")], dictionary.vectors[:, 1].mean(dim=0)
    )
    rows = [int(p.entry.sample_id[1:]) for p in mean.picked]
    torch.testing.assert_close(
        mean.vectors.values[Point(2, "attn")], dictionary.vectors[rows, 2].mean(dim=0)
    )


@pytest.mark.parametrize("before", [None, 4])
@pytest.mark.parametrize("aggregate", ["attentive", "mean", "naive"])
def test_weights_halve_with_so_many_later_times(
    dictionary: SteeringDictionary, aggregate, before
) -> None:
    # Two entries of one time are equally old, and what may not be seen makes nothing older.
    entries = [
        replace(entry, timestamp=time)
        for entry, time in zip(dictionary.entries, (5, 0, 3, 3, 1, 2), strict=True)
    ]
    dictionary = dictionary.replaced(entries=entries)
    query = torch.nn.functional.normalize(dictionary.keys.sum(dim=0), dim=0)
    steering = dictionary.select(
        query, k=3, aggregate=aggregate, temperature=0.2, half_life=1.5, before=before
    )
    assert steering is not None
    seen = [n for n, entry in enumerate(entries) if before is None or entry.timestamp < before]
    times = {entries[n].timestamp for n in seen}
    left = {n: 0.5 ** (sum(time > entries[n].timestamp for time in times) / 1.5) for n in seen}
    cosine = {n: float(dictionary.keys[n] @ query) for n in seen}
    worth = {n: math.exp(cosine[n] / 0.2) * left[n] for n in seen}
    count = len(seen) if aggregate == "naive" else 3
    best = sorted(seen, key=worth.__getitem__, reverse=True)[:count]
    share = {"attentive": worth, "naive": left, "mean": dict.fromkeys(best, 1.0)}[aggregate]
    expected = {entries[n].sample_id: share[n] / sum(share[m] for m in best) for n in best}
    assert {p.entry.sample_id: p.weight for p in steering.picked} == pytest.approx(expected)
    assert [p.similarity for p in steering.picked] == pytest.approx(
        [cosine[n] for n in best], abs=1e-6
    )
    torch.testing.assert_close(
        steering.vectors.values[dictionary.points[0]],
        sum(expected[entries[n].sample_id] * dictionary.vectors[n, 0] for n in best),
    )


def test_a_text_query_picks_what_it_resembles(dictionary: SteeringDictionary) -> None:
    steering = dictionary.select("another boat please", k=1, strength=2.0, positions="all")
    assert steering is not None
    assert "boat" in steering.picked[0].entry.key
    assert (steering.strength, steering.positions) == (2.0, "all")


def test_only_what_came_before_is_visible(dictionary: SteeringDictionary) -> None:
    seen = dictionary.select(dictionary.keys[5], k=6, before=3)
    assert seen is not None
    assert {p.entry.timestamp for p in seen.picked} == {0, 1, 2}
    assert dictionary.select(dictionary.keys[5], before=0) is None


def test_a_new_interaction_is_usable_at_once(
    dictionary: SteeringDictionary, tiny_steered: SteeredModel
) -> None:
    dictionary.add(tiny_steered, [pair(9), pair(2, rejected="w80 w81")])
    assert [e.sample_id for e in dictionary.entries] == ["s0", "s1", "s3", "s4", "s5", "s9", "s2"]
    steering = dictionary.select(dictionary.keys[5], k=1)
    assert steering is not None and steering.picked[0].entry.sample_id == "s9"
    assert dictionary.drop(["s9", "s0", "unknown"]) == 2
    assert len(dictionary) == len(dictionary.vectors) == len(dictionary.keys) == 5


def test_a_samples_two_kinds_of_contrast_are_two_entries(tiny_steered: SteeredModel) -> None:
    shown = [{"role": "user", "content": "w8 w9"}]
    context = replace(pair(1), negative=Exchange(shown, "w51 w51 w52"), contrast="context")
    both = SteeringDictionary.build(
        tiny_steered, [pair(1), context, pair(2)], user_id="ada", layers=[1]
    )
    alone = SteeringDictionary.build(tiny_steered, [context], user_id="ada", layers=[1])
    assert [(e.sample_id, e.contrast) for e in both.entries] == [
        ("s1", "response"),
        ("s1", "context"),
        ("s2", "response"),
    ]
    torch.testing.assert_close(both.vectors[1], alone.vectors[0], atol=1e-5, rtol=1e-4)
    for kind, samples in (("context", {"s1"}), ("response", {"s1", "s2"})):
        steering = both.select("a lamp", contrast=kind)  # type: ignore[arg-type]
        assert steering is not None
        assert {p.entry.sample_id for p in steering.picked} == samples
        assert {p.entry.contrast for p in steering.picked} == {kind}
    both.add(tiny_steered, [pair(1, rejected="w70")])
    assert sorted((e.sample_id, e.contrast) for e in both.entries) == [
        ("s1", "context"),
        ("s1", "response"),
        ("s2", "response"),
    ]
    assert both.drop(["s1"]) == 2


def test_saved_and_loaded_is_the_same(dictionary: SteeringDictionary, tmp_path: Path) -> None:
    dictionary.save(tmp_path / "ada.safetensors")
    loaded = SteeringDictionary.load(tmp_path / "ada.safetensors")
    assert torch.equal(loaded.vectors, dictionary.vectors)
    assert torch.equal(loaded.keys, dictionary.keys)
    assert loaded.entries == dictionary.entries and loaded.points == dictionary.points
    before, after = (d.select("a boat", k=2) for d in (dictionary, loaded))
    assert before is not None and after is not None and before.picked == after.picked


def test_a_full_disk_is_one_line_and_the_old_file_stays(
    dictionary: SteeringDictionary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors import SafetensorError

    path = tmp_path / "ada.safetensors"
    dictionary.save(path)
    before = path.read_bytes()

    def full(*args: object, **how: object) -> None:
        raise SafetensorError("No space left on device")

    monkeypatch.setattr("trimtab.steering.dictionaries.dictionary.save_file", full)
    with pytest.raises(TrimtabError, match="cannot write .*ada.*No space left on device; make"):
        dictionary.save(path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [path.name]


def test_steering_of_another_model_is_refused(
    dictionary: SteeringDictionary, tiny_steered: SteeredModel
) -> None:
    dictionary.fingerprint = "0000"
    steering = dictionary.select("a boat")
    with (
        pytest.raises(TrimtabError, match=r"another model \(fingerprint 0000\).*tiny-llama"),
        tiny_steered.steered([steering]),
    ):
        pass
    with pytest.raises(TrimtabError, match="the dictionary of 'ada' was built with another model"):
        dictionary.add(tiny_steered, [pair(1)])


def test_bad_input_is_named(
    dictionary: SteeringDictionary, tiny_steered: SteeredModel, tmp_path: Path
) -> None:
    with pytest.raises(TrimtabError, match="'ada' has no contrast pairs"):
        SteeringDictionary.build(tiny_steered, [], user_id="ada", layers=[1])
    with pytest.raises(TrimtabError, match="layer 7 was asked for.*0 to 3"):
        SteeringDictionary.build(tiny_steered, [pair(1)], user_id="ada", layers=[7])
    with pytest.raises(TrimtabError, match="expected aggregation naive, mean, attentive"):
        dictionary.select("a boat", aggregate="median")  # type: ignore[arg-type]
    with pytest.raises(TrimtabError, match="k of at least 1"):
        dictionary.select("a boat", k=0)
    with pytest.raises(TrimtabError, match="finite half life of at least 0 entries, got -2"):
        dictionary.select("a boat", half_life=-2)
    with pytest.raises(TrimtabError, match="there is no steering dictionary at"):
        SteeringDictionary.load(tmp_path / "nobody")
    (tmp_path / "broken").write_bytes(b"\x10\0\0\0\0\0\0\0 not json")
    with pytest.raises(TrimtabError, match="not a steering dictionary of this version"):
        SteeringDictionary.load(tmp_path / "broken")


def test_picked_is_explained_by_its_entry(dictionary: SteeringDictionary) -> None:
    steering = dictionary.select("a boat", k=1)
    assert steering is not None
    (picked,) = steering.picked
    assert isinstance(picked, Picked) and picked.weight == pytest.approx(1.0)
    assert picked.entry.answer.startswith("w5")


def test_a_dictionary_like_another_is_one_of_its_own(dictionary: SteeringDictionary) -> None:
    other = dictionary.replaced(user_id="bob")
    assert (other.user_id, other.entries) == ("bob", dictionary.entries)
    assert torch.equal(other.vectors, dictionary.vectors)
    assert other.drop(["s1"]) == 1
    assert len(dictionary) == len(other) + 1 == len(dictionary.vectors)
