"""Users who change half way: what the world does, and what each way may know when it is asked."""

from collections import Counter

import pytest
import torch

from trimtab.agent.calling.calls import call_head
from trimtab.agent.shop.pairs import task_prompt
from trimtab.cli import execute
from trimtab.envs.shop.environment import ShopEnvironment
from trimtab.envs.worlds.bazaar import generate_bazaar
from trimtab.envs.worlds.bazaar.requests import idiom_of
from trimtab.eval.studies import drift
from trimtab.eval.studies.tool_choices import NothingRecommended, SteeredTask, chosen_tools
from trimtab.eval.training.loop import train
from trimtab.steering import Exchange, SteeredModel


@pytest.fixture(scope="module")
def model(word_model_folder):
    return SteeredModel.from_pretrained(str(word_model_folder), dtype="float32")


@pytest.fixture
def shop(tmp_path):
    world = generate_bazaar(users=2, products=100, flips=True, habit=1.0)
    return ShopEnvironment(world, tmp_path / "shop", recommender=NothingRecommended())


def steered_ages(asked, times):
    """How long before the request the picked entries were, on average by their weights."""
    return sum(
        picked.weight * (asked.task.timestamp - times[picked.entry.sample_id])
        for picked in asked.steering.picked
    )


def test_what_an_idiom_meant_before_the_change_it_does_not_mean_after():
    kept, flipped = (
        generate_bazaar(users=12, products=100, habit=1.0, ambiguous=1.0, flips=flips)
        for flips in (False, True)
    )
    assert flipped.name == f"{kept.name}-flips"
    assert generate_bazaar(users=2, products=100).fingerprint != flipped.fingerprint
    turned = 0
    for user in flipped.users:
        meant = {"before": {}, "after": {}}
        own = [t for t in (*flipped.train, *flipped.test) if t.user_id == user]
        change = drift.changed_at(sorted(own, key=lambda task: task.timestamp))
        for task in own:
            idiom = idiom_of(task.task)
            if idiom is not None:
                side = "before" if task.timestamp < change else "after"
                meant[side].setdefault(idiom, set()).add(task.type)
        for idiom in set(meant["before"]) & set(meant["after"]):
            assert not meant["before"][idiom] & meant["after"][idiom]
            turned += 1
    assert turned > 5


def test_frozen_vectors_know_nothing_of_what_came_after_the_change(
    model, shop, monkeypatch, tmp_path
):
    seen = []

    def recording(model, shop, asked):
        seen.extend(asked)
        return ["search_product_by_query"] * len(asked)

    learned_on = []

    def training(model, stack, examples, options):
        learned_on.append(Counter(example.owner for example in examples))
        return train(model, stack, examples, options)

    monkeypatch.setattr(drift, "chosen_tools", recording)
    monkeypatch.setattr(drift, "train", training)
    (finding, apart), _ = drift.drift_study(model, shop, trained=True, folder=tmp_path / "study")
    timelines = drift._timelines(shop)
    times = {task.id: task.timestamp for own in timelines.values() for task in own}
    per_request = len(drift.METHODS)
    faded = 0
    for start in range(0, len(seen), per_request):
        learning, fading, frozen, trained, plain, shown = seen[start : start + per_request]
        now, change = learning.task.timestamp, drift.changed_at(timelines[learning.task.user_id])
        picked = [
            [times[p.entry.sample_id] for p in each.steering.picked]
            for each in (learning, frozen, fading)
        ]
        assert all(time < now for time in picked[0])
        assert all(time < change for time in picked[1])
        assert all(time < now for time in picked[2])
        if len(set(picked[0])) > 1:  # else there is nothing older
            faded += 1
            assert steered_ages(fading, times) < steered_ages(learning, times)
        assert len(trained.steering.stages) == 1 and not trained.steering.picked
        assert plain.steering is None and not plain.memory
        assert 1 <= len(shown.memory) <= 3 and shown.steering is None
    assert faded
    # What is trained for a request is trained on all that came before it.
    assert [[own[owner] for owner in sorted(own)] for own in learned_on] == [
        [sum(past.timestamp < task.timestamp for past in own) for task in drift.after_change(own)]
        for own in timelines.values()
    ]
    assert {row[0] for row in finding.rows} == set(drift.METHODS)
    assert sum(row[-1] for row in finding.rows) == len(seen)
    # Of an idiom's uses since the change the first has none before it, the second one, and so on.
    uses = Counter(
        (user, idiom_of(task.task))
        for user, own in timelines.items()
        for task in drift.after_change(own)
    )
    expected = {"0": len(uses), "1": sum(count > 1 for count in uses.values())}
    expected["2 or more"] = uses.total() - sum(expected.values())
    told = {row[1]: row[-1] for row in finding.rows if row[0] == drift.LEARNING}
    assert told == {times: count for times, count in expected.items() if count}
    assert f"{uses.total() - len(uses)} requests of" in apart.notes[0]
    assert all(0 <= row[2] <= 1 for row in finding.rows)
    assert not any(row[3] < 0 or row[4] > 1 for row in finding.rows)
    # All were told to call one tool: no method is over another.
    assert [row[0] for row in apart.rows] == [
        drift.LEARNING,
        *(m for m in drift.METHODS if m != drift.LEARNING),
    ]
    assert [row[4] for row in apart.rows] == [None, 0, 0, 0, 0, 0]


@torch.inference_mode()
def test_the_chosen_tool_has_the_likeliest_start_of_a_call(model, shop):
    """Against one whole pass a tool, with nothing shared."""
    asked = [SteeredTask(task, memory=("a past request",)) for task in shop.world.test[:2]]
    expected = []
    for each in asked:
        scores = {}
        for name in shop.toolkit.names:
            prompt = task_prompt(shop, each.task, each.memory)
            exchange = Exchange(prompt, call_head(name), shop.toolkit.schemas())
            forced = model.tokenized(exchange)
            ids = torch.tensor([[*forced.prompt, *forced.answer]])
            logs = model.hf(ids).logits[0].log_softmax(dim=-1)
            start = len(forced.prompt)
            scores[name] = sum(logs[start + n - 1, t] for n, t in enumerate(forced.answer))
        expected.append(max(scores, key=scores.get))
    assert chosen_tools(model, shop, asked) == expected


def test_the_command_writes_a_table_and_a_figure(word_model_folder, tmp_path, capsys):
    line = ["study", "drift", "--users", "2", "--model", str(word_model_folder), "--quiet"]
    assert execute([*line, "--dtype", "float32", "--out", str(tmp_path)]) == 0
    written = {path.suffix for path in tmp_path.iterdir() if path.is_file()}
    assert written == {".csv", ".json", ".png", ".svg"}
    assert "learned at once" in capsys.readouterr().out
