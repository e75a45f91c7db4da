"""Training users from the command line, and being steered by what the store then keeps of them."""

import json
from itertools import pairwise

import pytest
import torch

from trimtab import cli
from trimtab.eval import evaluate
from trimtab.eval.methods.registry import parse_methods
from trimtab.eval.texts.plan import TextPlan
from trimtab.eval.texts.task import TextTask
from trimtab.eval.texts.trained import train_users
from trimtab.steering import SteeredModel, SteeringStore
from trimtab.steering.reading.likelihood import answer_log_likelihoods
from trimtab.steering.reading.teacher_forcing import TokenizedExchange
from trimtab.steering.store.trained import TrainedSteer, kept_stages
from trimtab.steering.vectors.low_rank import load_stages

FAST = "learning_rate=0.01,epochs=1,batch_size=8,patience=0"
PERFIT = f"perfit({FAST},rank_c=2,rank_p=2,epochs_p=1)"


@pytest.fixture
def train(word_model_folder, trimtab_home, tmp_path, capsys):
    def run(method, *more, task="headlines", code=0):
        line = ["store", "train", str(tmp_path / "users.db"), task, "--method", method, "--quiet"]
        line += ["--users", "3", "--history", "5", "--model", str(word_model_folder)]
        line += ["--dtype", "float32", "--device", "cpu", *map(str, more)]
        assert cli.execute(line) == code
        printed = capsys.readouterr()
        return printed.out if code == 0 else printed.err

    return run


@pytest.mark.parametrize("apart", [False, True], ids=["with each user", "in a file"])
def test_who_is_trained_is_steered_as_in_an_evaluation(
    train, word_model_folder, tmp_path, apart
) -> None:
    phi = tmp_path / "phi.safetensors"
    told = train(PERFIT, *(["--shared", phi] if apart else []))
    assert told.startswith(f"3 users' perfit is in {tmp_path / 'users.db'}: ")
    assert (f"what all share is in {phi}" in told) == apart
    model = SteeredModel.from_pretrained(str(word_model_folder), dtype="float32", device="cpu")
    methods = tuple(parse_methods(PERFIT))
    plan = TextPlan("headlines", methods, users=3, history=5, generate=False)
    run = evaluate(TextTask(plan, model, plan.dataset()), methods, tmp_path / "run")
    shared = load_stages(phi, fingerprint=model.fingerprint) if apart else ()
    with SteeringStore(tmp_path / "users.db", model=model) as store:
        assert len(store.intervention(run.records[0].user_id, "perfit").tensors) == 3 * (2 - apart)
        steer = TrainedSteer(store, "perfit", shared=shared, fingerprint=model.fingerprint)
        for record in run.records:
            answer = model.tokens_of(record.gold.strip())
            exchange = TokenizedExchange(model.prompt_tokens(record.prompt), answer)
            [nats] = answer_log_likelihoods(model, [exchange], [steer(record.user_id, "")])
            assert nats / len(answer) == pytest.approx(record.scores["log-likelihood"], abs=1e-5)


def test_what_is_nobodys_own_goes_into_the_file_alone(train, tmp_path) -> None:
    phi = tmp_path / "phi.safetensors"
    told = train(f"collective({FAST})", "--shared", phi)
    assert told.startswith(f"what all share is in {phi}; ")
    assert len(load_stages(phi)) == 1
    assert "3 users' mean is in" in train(f"collective({FAST})", "--name", "mean")
    users = [user.id for user in TextPlan("headlines", (), users=3).dataset().users]
    with SteeringStore(tmp_path / "users.db") as store:
        stages = [kept_stages(store, user, "mean") for user in users]
        assert all(torch.equal(*shifts) for shifts in pairwise(bias(each) for each in stages))
        store.forget(users[0])
        assert not kept_stages(store, users[0], "mean")


def bias(stages):
    [stage] = stages
    [shift] = stage.layers.values()
    return shift.bias


def test_a_map_that_other_people_taught(train, word_model_folder, trimtab_home, tmp_path) -> None:
    people = [
        {"user": f"u{n}", "time": f"2024-05-{day + 1:02d}", "input": f"write of day {day}",
         "output": f"{'loud' if n % 2 else 'calm'} words of {n * 8 + day} leaves"}
        for n in range(24) for day in range(8)
    ]  # fmt: skip
    files = {"others": people[: 18 * 8], "mine": people[18 * 8 :]}
    for name, records in files.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, records)))
    method = f"amortized({FAST},data={tmp_path / 'others.jsonl'},directions=4,passes=1,depths=0.5)"
    told = train(method, "--data", tmp_path / "mine.jsonl", task="texts")
    assert told.startswith("3 users' amortized is in")
    model = SteeredModel.from_pretrained(str(word_model_folder), dtype="float32", device="cpu")
    plan = TextPlan(
        "texts",
        tuple(parse_methods(method)),
        data=str(tmp_path / "mine.jsonl"),
        users=3,
        history=5,
    )
    again = train_users(TextTask(plan, model, plan.dataset()), plan.methods[0])
    assert not again.shared
    with SteeringStore(tmp_path / "users.db", model=model) as store:
        for user, [stage] in again.own.items():
            [kept] = kept_stages(store, user, "amortized", fingerprint=model.fingerprint)
            for layer, shift in stage.layers.items():
                assert torch.equal(kept.layers[layer].bias, shift.bias)


@pytest.mark.parametrize(
    ("method", "task", "says"),
    [
        ("fints", "headlines", "nothing is trained by it; expected a method such as perfit"),
        ("perfit,lora-p", "headlines", "expected one method to train, got 2"),
        ("perfit", "shop", "no task 'shop'"),
        ("perfit(rank=2)", "headlines", "no option 'rank'"),
    ],
)
def test_bad_input_is_one_line(train, tmp_path, method, task, says) -> None:
    told = train(method, task=task, code=2)
    assert says in told and told.count("\n") == 1
