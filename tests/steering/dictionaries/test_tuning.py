"""Tuning against likelihoods worked out one plain pass at a time, and the search over settings."""

import json
import time
from dataclasses import replace
from functools import partial

import pytest
import torch

from trimtab import TrimtabError
from trimtab.steering import (
    ContrastPair,
    Exchange,
    SteeredModel,
    SteeringDictionary,
    build_dictionaries,
)
from trimtab.steering.dictionaries import tuning
from trimtab.steering.dictionaries.settings import SteeringSettings
from trimtab.steering.dictionaries.tuning import Grid, Trial, Tuner, search
from trimtab.steering.reading.teacher_forcing import answer_batches


def pair(user: int, n: int, rejected: str = "w60 w61") -> ContrastPair:
    messages = [{"role": "user", "content": f"w{20 + n + 5 * user} w7 w{30 + n}"}]
    return ContrastPair(
        sample_id=f"s{n}",
        request=f"request {n} for a {'lamp' if n % 2 else 'boat'}",
        positive=Exchange(messages, f"w{50 + n} w{70 + user}"),
        negative=Exchange(messages, rejected),
        timestamp=10 + n,
    )


BUILD = {f"u{user}": [pair(user, n) for n in range(4)] for user in range(3)}
HELD_BACK = {
    "u0": [pair(0, 5), pair(0, 5, "w80 w90"), pair(0, 2)],  # s2 is in the dictionary, s3 is later
    "u1": [pair(1, 6)],
}


def built(
    model: SteeredModel, pairs: dict[str, list[ContrastPair]], **how
) -> dict[str, SteeringDictionary]:
    return build_dictionaries(model, pairs, layers=[1, 2], sites=("attn", "mid", "mlp"), **how)


@pytest.fixture(scope="module")
def tuner(tiny_steered: SteeredModel) -> Tuner:
    return Tuner(tiny_steered, built(tiny_steered, BUILD), HELD_BACK)


def log_likelihood(model: SteeredModel, side: Exchange, steering) -> torch.Tensor:
    exchange = model.tokenized(side)
    ids = torch.tensor([[*exchange.prompt, *exchange.answer]])
    with torch.inference_mode(), model.steered([steering], prompt_lengths=[len(exchange.prompt)]):
        logs = model.hf(ids).logits[0].log_softmax(-1)
    start = len(exchange.prompt) - 1
    return torch.stack([logs[start + t, token] for t, token in enumerate(exchange.answer)]).sum()


def by_hand(model: SteeredModel, settings: SteeringSettings | None) -> tuple[float, float, float]:
    """Margin, likelihood and accuracy, with a dictionary and a pass for each setting and answer."""
    scores, likelihoods, shares = [], [], []
    for user, held_back in HELD_BACK.items():
        worst: dict[str, torch.Tensor] = {}
        own: dict[str, torch.Tensor] = {}
        for held in held_back:
            steering = None
            if settings is not None:
                earlier = [p for p in BUILD[user] if p.timestamp < held.timestamp]
                dictionary = SteeringDictionary.build(
                    model,
                    earlier,
                    user_id=user,
                    layers=settings.layers(model),
                    sites=settings.sites,
                    keys=settings.keys,
                )
                steering = settings.select(dictionary, held.request)
            likelihood = log_likelihood(model, held.positive, steering)
            own[held.sample_id] = likelihood / len(held.positive.answer.split())
            margin = likelihood - log_likelihood(model, held.negative, steering)
            worst[held.sample_id] = min(margin, worst.get(held.sample_id, margin))
        margins = torch.stack(list(worst.values()))
        scores.append(torch.nn.functional.logsigmoid(margins).mean())
        shares.append((margins > 0).float().mean())
        likelihoods.append(torch.stack(list(own.values())).mean())
    found = [float(torch.stack(values).mean()) for values in (scores, likelihoods, shares)]
    return found[0], found[1], found[2]


@pytest.mark.parametrize(
    "settings",
    [
        None,
        SteeringSettings(depths=(0.3,), strength=3.0),
        SteeringSettings(sites=("attn",), depths=(0.3, 0.6), strength=8.0, k=2, aggregate="mean"),
        SteeringSettings(depths=(0.6,), keys="input+answer", strength=9.0, k=1, cap=2.0),
        SteeringSettings(depths=(0.6,), strength=9.0, positions=1),
        SteeringSettings(depths=(0.6,), strength=3.0, aggregate="naive", positions="all"),
    ],
)
def test_a_trial_is_the_likelihood_margin(
    tuner: Tuner, tiny_steered: SteeredModel, settings: SteeringSettings | None
) -> None:
    trial = tuner.try_settings(settings)
    margin, likelihood, accuracy = by_hand(tiny_steered, settings)
    assert trial.settings == settings
    assert trial.margin == pytest.approx(margin, abs=1e-4)
    assert trial.likelihood == pytest.approx(likelihood, abs=1e-4)
    assert trial.accuracy == pytest.approx(accuracy)
    assert settings is None or abs(trial.margin - tuner.try_settings(None).margin) > 1e-3


@pytest.mark.parametrize("cache_tokens", [0, 12])
def test_prompts_that_are_not_kept_run_again(
    tuner: Tuner, tiny_steered: SteeredModel, cache_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A batch a prompt, of which the first ones have room.
    monkeypatch.setattr(tuning, "answer_batches", partial(answer_batches, token_budget=1))
    bounded = Tuner(tiny_steered, built(tiny_steered, BUILD), HELD_BACK, cache_tokens=cache_tokens)
    held = sum(batch.cached_tokens for batch in bounded._batches)
    assert held <= cache_tokens and bool(held) == bool(cache_tokens)
    for settings in (None, SteeringSettings(sites=("mid",)), SteeringSettings(positions="all")):
        expected, found = tuner.try_settings(settings), bounded.try_settings(settings)
        assert found.margin == pytest.approx(expected.margin, abs=1e-4)
        assert found.likelihood == pytest.approx(expected.likelihood, abs=1e-4)
        assert found.accuracy == expected.accuracy


def test_the_likelihood_alone_needs_no_rejected_answers(tuner, tiny_steered: SteeredModel) -> None:
    quick = Tuner(tiny_steered, built(tiny_steered, BUILD), HELD_BACK, by="likelihood")
    own = {(user, p.sample_id) for user, pairs in HELD_BACK.items() for p in pairs}
    assert len(quick._exchanges) == len(own) == 3  # two pairs of one sample share its own answer
    for settings in (None, SteeringSettings(depths=(0.3,), strength=3.0)):
        trial, whole = quick.try_settings(settings), tuner.try_settings(settings)
        assert trial.likelihood == pytest.approx(whole.likelihood, abs=1e-5)
        assert trial.margin is None and trial.accuracy is None
    assert Trial.from_json(json.loads(json.dumps(trial.to_json()))) == trial


@pytest.mark.parametrize("keys", ["input", "input+answer"])
def test_picks_by_either_kind_of_key(tuner: Tuner, tiny_steered: SteeredModel, keys) -> None:
    settings = SteeringSettings(depths=(0.3,), keys=keys, k=3)
    found = tuner.steerings(settings)[-1]
    directly = SteeringDictionary.build(
        tiny_steered, BUILD["u1"], user_id="u1", layers=[1], sites=settings.sites, keys=keys
    )
    expected = settings.select(directly, HELD_BACK["u1"][0].request)
    assert found is not None and expected is not None
    for mine, theirs in zip(found.picked, expected.picked, strict=True):
        assert mine.entry == theirs.entry
        assert mine.similarity == pytest.approx(theirs.similarity, abs=1e-5)


def test_the_collective_part_is_of_the_other_users(tuner: Tuner, tiny_steered: SteeredModel):
    settings = SteeringSettings(
        sites=("mlp",), depths=(0.3,), collective=2.0, personal=0.0, strength=3.0
    )
    dictionaries = built(tiny_steered, BUILD)
    (point,) = (p for p in dictionaries["u0"].points if p == (1, "mlp"))
    row = dictionaries["u0"].points.index(point)
    for user, steering in zip(["u0", "u0", "u0", "u1"], tuner.steerings(settings), strict=True):
        # Of those with held-back samples alone; nobody is part of their own collective.
        other = {"u0": "u1", "u1": "u0"}[user]
        expected = 2.0 * dictionaries[other].vectors[:, row].mean(dim=0)
        assert steering is not None and not steering.picked
        torch.testing.assert_close(steering.vectors.values[point], expected, atol=1e-4, rtol=1e-3)
    likelihood = tuner.try_settings(settings).likelihood
    assert abs(likelihood - tuner.try_settings(None).likelihood) > 1e-3


def test_a_held_back_sample_never_steers_itself(tuner: Tuner) -> None:
    steerings = tuner.steerings(SteeringSettings(depths=(0.3,), aggregate="naive"))
    picked = [sorted(p.entry.sample_id for p in s.picked) for s in steerings if s is not None]
    assert picked == [["s0", "s1", "s2", "s3"]] * 2 + [["s0", "s1"]] + [["s0", "s1", "s2", "s3"]]


def test_without_times_a_sample_is_known_by_its_id(tiny_steered: SteeredModel) -> None:
    def timeless(pairs: list[ContrastPair]) -> list[ContrastPair]:
        return [replace(p, timestamp=0) for p in pairs]

    held_back = {"u0": timeless(HELD_BACK["u0"][2:])}
    tuner = Tuner(tiny_steered, built(tiny_steered, {"u0": timeless(BUILD["u0"])}), held_back)
    (steering,) = tuner.steerings(
        SteeringSettings(sites=("mlp",), depths=(0.3,), aggregate="naive")
    )
    assert steering is not None
    assert sorted(p.entry.sample_id for p in steering.picked) == ["s0", "s1", "s3"]


def test_bad_input_is_named(tiny_steered: SteeredModel) -> None:
    dictionaries = built(tiny_steered, BUILD)
    with pytest.raises(TrimtabError, match="got no held-back pairs"):
        Tuner(tiny_steered, dictionaries, {"u0": []})
    with pytest.raises(TrimtabError, match="none earlier for user 'u9'"):
        Tuner(tiny_steered, dictionaries, {"u9": [pair(9, 1)]})
    with pytest.raises(TrimtabError, match="of 'u0' has them from input"):
        Tuner(tiny_steered, built(tiny_steered, BUILD, keys="input+answer"), HELD_BACK)
    dictionaries["u1"].fingerprint = "another"
    with pytest.raises(TrimtabError, match="of 'u1' was built with another model"):
        Tuner(tiny_steered, dictionaries, HELD_BACK)


GRID = Grid(
    sites=(("mlp",), ("mid", "mlp")),
    depths=(0.3, 0.6),
    strengths=(1.0, 2.0),
    keys=("input", "input+answer"),
    aggregates=("attentive", "naive"),
    ks=(5, 1),
    temperatures=(0.1, 0.2),
    positions=("answer", "all"),
)


class Scored:
    """Stands for a tuner whose scores are known, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[SteeringSettings | None] = []

    def try_settings(self, settings: SteeringSettings | None) -> Trial:
        self.asked.append(settings)
        if settings is None:
            return Trial(None, -2.0, -3.0, 0.1, 0.5)
        score = -abs(settings.strength - 2.8) - abs(settings.depths[0] - 0.6)
        score -= (settings.sites != ("mlp",)) + (settings.aggregate != "naive")
        score -= (settings.keys != "input+answer") + (settings.positions != "all")
        return Trial(settings, score, -score, 0.25, 0.125)


def run(tuner: Scored, **how) -> list[Trial]:
    return list(search(tuner, GRID, start=SteeringSettings(k=5), **how))  # type: ignore[arg-type]


def test_goes_from_coarse_to_fine_and_finds_the_best() -> None:
    tuner = Scored()
    trials = run(tuner)
    assert [trial.settings for trial in trials] == tuner.asked
    assert tuner.asked[0] is None
    coarse = tuner.asked[1:9]
    assert {(s.sites, s.depths, s.strength) for s in coarse if s} == {
        (sites, (depth,), strength)
        for sites in GRID.sites
        for depth in GRID.depths
        for strength in GRID.strengths
    }
    assert {s.keys for s in coarse if s} == {"input"}
    best = max(trials, key=lambda trial: trial.margin).settings
    assert best is not None
    assert (best.sites, best.depths, best.strength) == (("mlp",), (0.6,), 2.8)
    assert (best.keys, best.aggregate, best.positions) == ("input+answer", "naive", "all")
    assert len(set(tuner.asked)) == len(tuner.asked)  # nothing twice


def test_parts_are_tried_with_every_strength_and_what_is_not_picked_is_not_tuned() -> None:
    class Collective(Scored):
        def try_settings(self, settings: SteeringSettings | None) -> Trial:
            trial = super().try_settings(settings)
            if settings is None:
                return trial
            return replace(trial, margin=trial.margin + 9 * settings.collective)

    tuner = Collective()
    grid = replace(GRID, parts=((1.0, 0.0), (0.9, 0.5)))
    trials = list(search(tuner, grid))  # type: ignore[arg-type]
    tried = [s for s in tuner.asked if s and s.in_two_parts and s.strength in GRID.strengths]
    assert {(s.collective, s.personal, s.strength) for s in tried} == {
        (*parts, strength) for parts in grid.parts for strength in grid.strengths
    }
    assert {s.contrast for s in tried} == {"response"}
    best = max(trials, key=lambda trial: trial.margin).settings
    assert best is not None and (best.collective, best.personal) == (1.0, 0.0)
    after = tuner.asked[tuner.asked.index(tried[-1]) + 1 :]
    assert {(s.keys, s.k, s.aggregate, s.temperature) for s in after if s} == {
        ("input", 5, "attentive", 0.1)
    }


def test_half_lives_are_tried_where_they_are_named() -> None:
    class Changing(Scored):
        def try_settings(self, settings: SteeringSettings | None) -> Trial:
            trial = super().try_settings(settings)
            gain = 5 if settings and settings.half_life == 4 else 0
            return replace(trial, margin=trial.margin + gain)

    found = list(search(Changing(), replace(GRID, half_lives=(0.0, 4.0, 16.0))))  # type: ignore[arg-type]
    assert {t.settings.half_life for t in found if t.settings} == {0.0, 4.0, 16.0}
    best = max(found, key=lambda trial: trial.margin).settings
    assert best is not None and best.half_life == 4.0
    assert not any(s.half_life for trial in run(Scored()) if (s := trial.settings))


def test_goes_by_the_likelihood_where_that_is_asked() -> None:
    trials = run(Scored(), by="likelihood")
    best = max(trials[1:], key=lambda trial: trial.likelihood)
    assert best.settings is not None and best.settings.aggregate == "attentive"
    assert best.score("likelihood") == best.likelihood != best.score("margin")


def test_an_interrupted_search_goes_on_where_it_stopped() -> None:
    whole = run(Scored())
    for done in (0, 1, 5, len(whole) - 1, len(whole)):
        again = Scored()
        kept = [Trial.from_json(json.loads(json.dumps(t.to_json()))) for t in whole[:done]]
        assert run(again, done=kept) == whole
        assert again.asked == [trial.settings for trial in whole[done:]]


@pytest.mark.parametrize("plain", [{}, {"settings": {"k": 3}}, {"settings": 3}, [1]])
def test_what_is_no_record_is_refused(plain) -> None:
    with pytest.raises(TrimtabError, match="not the record of a trial"):
        Trial.from_json(plain)


def test_begins_no_trial_when_the_budget_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    class Slow(Scored):
        def try_settings(self, settings: SteeringSettings | None) -> Trial:
            now[0] += 10
            return super().try_settings(settings)

    tuner = Slow()
    found = run(tuner, budget_seconds=25)
    assert len(found) == len(tuner.asked) == 3
    assert run(tuner, budget_seconds=-1, done=found) == found  # those that are done cost nothing
    assert len(run(Scored(), budget_seconds=-1)) == 0
