"""Trained methods on a few people of the built-in world: what each trains, and whose steers."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from trimtab import TrimtabError
from trimtab.envs.worlds.gazette import headlines
from trimtab.eval import evaluate
from trimtab.eval.methods.registry import METHODS, get_method, parse_methods, with_controls
from trimtab.eval.texts.kinds import get_task
from trimtab.eval.texts.plan import make_plan
from trimtab.eval.texts.task import TextTask
from trimtab.eval.texts.users import TextUsers
from trimtab.eval.training.directions import Directions
from trimtab.steering import SteeredModel

FAST = "learning_rate=0.01,epochs=1,batch_size=8"
EACH = (
    f"zero-shot,collective({FAST}),perfit({FAST},rank_c=2,rank_p=2,epochs_p=1),"
    f"perfit({FAST},stage=1),lora-c({FAST},rank=2),lora-p({FAST},rank=2,epochs_p=1),"
    f"oppu({FAST},rank=2,epochs_p=1),per-pcs({FAST},rank=2,epochs_p=1,pieces=2,sharers=3),"
    f"amortized({FAST},directions=3,passes=1)"
)


@pytest.fixture(scope="module")
def tiny(word_model_folder: Path, letters_encoder) -> SteeredModel:
    model = SteeredModel.from_pretrained(str(word_model_folder), dtype="float32", device="cpu")
    model.__dict__["encoder"] = letters_encoder
    return model


@pytest.fixture(scope="module")
def letters_encoder():
    class Letters:
        name = "letters"

        def encode(self, texts):
            counts = [[float(text.lower().count(chr(97 + n))) for n in range(26)] for text in texts]
            return torch.nn.functional.normalize(torch.tensor(counts).reshape(-1, 26), dim=-1)

    return Letters()


def users_of(model: SteeredModel, folder: Path, count: int = 5, history: int = 5) -> TextUsers:
    people = headlines(seed=0).users[:count]
    people = [replace(u, history=u.history[-history:], tests=u.tests[:1]) for u in people]
    return TextUsers(model, get_task("headlines"), people, folder=folder, context=600)


def test_every_method_is_trained_and_answers_in_one_run(tiny, tmp_path: Path) -> None:
    plan = make_plan(
        {"task": "headlines", "methods": EACH, "users": 4, "history": 5, "tests": 1,
         "generate": False, "context": 600, "model": "tiny"},
    )  # fmt: skip
    task = TextTask(plan, tiny, plan.dataset(), cache=tmp_path / "cache")
    run = evaluate(task, plan.methods, tmp_path / "run")
    assert not [record.error for record in run.records if record.error]
    by_method = {}
    for record in run.records:
        by_method.setdefault(record.method, {})[record.sample_id] = record
    labels = [named.label for named in plan.methods]
    assert {label.rpartition(")")[2] for label in labels} == {
        "zero-shot",
        "",
        "-other",
        "-population",
    }
    # perfit, oppu, per-pcs and amortized have two controls, lora-p one.
    assert len(labels) == 9 + 2 + 2 + 2 + 2 + 1
    plain = by_method["zero-shot"]
    changed = 0
    for label in labels[1:]:
        for sample, record in by_method[label].items():
            likely = record.scores["log-likelihood"]
            assert likely is not None
            changed += likely != plain[sample].scores["log-likelihood"]
        detail = next(iter(by_method[label].values())).detail["trained"]
        assert detail["seconds"] >= 0
    assert changed > 4 * (len(labels) - 2)
    kept = len(list((tmp_path / "cache" / "trained").iterdir()))
    again = evaluate(
        TextTask(plan, tiny, plan.dataset(), cache=tmp_path / "cache"),
        plan.methods,
        tmp_path / "again",
    )
    assert len(list((tmp_path / "cache" / "trained").iterdir())) == kept
    scores = [{(r.method, r.sample_id): r.scores for r in each.records} for each in (run, again)]
    assert scores[0] == scores[1]


def test_with_past_texts_in_the_prompt_and_an_answer_that_is_scored(tiny, tmp_path: Path) -> None:
    plan = make_plan(
        {"task": "headlines", "methods": f"perfit({FAST},rank_c=1,rank_p=1,epochs_p=1,context=1)",
         "users": 2, "history": 3, "tests": 1, "max_new_tokens": 4, "context": 600,
         "model": "tiny"},
    )  # fmt: skip
    task = TextTask(plan, tiny, plan.dataset(), cache=tmp_path / "cache")
    run = evaluate(task, plan.methods, tmp_path / "run")
    people = {user.id: user for user in plan.dataset().users}
    assert len(run.records) == 2 * 3  # with its two controls
    for record in run.records:
        assert {"rouge-1", "rouge-l", "log-likelihood"} <= set(record.scores)
        past = [each.output for each in people[record.user_id].history]
        assert sum(text in record.prompt[-1]["content"] for text in past) == 1


def test_controls_differ_in_nothing_but_whose_numbers_steer(tiny, tmp_path: Path) -> None:
    users = users_of(tiny, tmp_path)
    samples = users.samples()

    def stages(method):
        treat = method.prepare(users)
        return {s.user_id: treat(s).steer(s.user_id, "", None).stages for s in samples}

    method = get_method("perfit", {"learning_rate": 0.01, "rank_c": 2, "rank_p": 2, "patience": 0})
    own, other, population = (stages(each) for each in (method, *method.controls().values()))
    for user in own:
        assert len(own[user]) == len(other[user]) == 2
        assert len(population[user]) == 1
        (layer,) = own[user][0].layers
        phi = [each[user][0].layers[layer].weight for each in (own, other, population)]
        assert torch.equal(phi[0], phi[1]) and torch.equal(phi[0], phi[2])
        lent = other[user][1].layers[layer].weight
        lenders = [u for u in own if torch.equal(own[u][1].layers[layer].weight, lent)]
        assert lenders and user not in lenders


def test_no_gold_reaches_the_training(tiny, tmp_path: Path) -> None:
    """The golds of the tests in other words: everything that is trained stays as it is."""
    seen = []
    people = headlines(seed=0).users[:3]
    for word in ("one", "other"):
        changed = [
            replace(u, tests=tuple(replace(t, output=word) for t in u.tests)) for u in people
        ]
        users = TextUsers(tiny, get_task("headlines"), changed, folder=tmp_path, context=600)
        method = get_method("collective")
        learned, held = method.together(users)  # type: ignore[attr-defined]
        _, own, back = method.apart(users)  # type: ignore[attr-defined]
        seen.append([*learned, *held, *own, *back])
    assert seen[0] == seen[1]
    golds = {tuple(tiny.tokenizer(t.output)["input_ids"]) for u in people for t in u.tests}
    assert not golds & {example.answer[:-1] for example in seen[0]}


def test_learns_on_other_people(tiny, tmp_path: Path) -> None:
    users = users_of(tiny, tmp_path)
    task = get_task("headlines")
    whole = headlines(seed=0)
    users.task = replace(task, load=lambda path, seed: whole)
    found = users.exchanges("elsewhere", targets=1)
    assert len(found) == len(whole.users) - len(users.users)
    assert not set(found) & set(users.users)
    own = {user.id: user for user in whole.users}
    for user, [exchange] in found.items():
        assert exchange.answer == own[user].tests[-1].output.strip()  # theirs is no secret
    users.task = replace(task, load=lambda path, seed: replace(whole, users=whole.users[:5]))
    users._other_people.clear()
    with pytest.raises(TrimtabError, match="nobody in elsewhere is another person"):
        users.exchanges("elsewhere")


def test_only_those_who_share_pieces_are_asked_for_requests(tiny, tmp_path: Path) -> None:
    """Nobody's texts are rewritten who is not trained on."""
    users = users_of(tiny, tmp_path)
    long, short = list(users.users)[2:4], next(iter(users.users))
    people = {**users.users, short: replace(users.users[short], history=())}
    for user in people.values():
        silent = tuple(replace(past, input="") for past in user.history)
        people[user.id] = replace(user, history=silent if user.id in long else silent[:2])
    asked = []
    users.rewritten = lambda texts: asked.extend(texts) or list(texts)  # type: ignore[method-assign]
    users.users = people
    found = users.exchanges(people=long)
    assert set(found) == set(long)
    assert sorted(asked) == sorted(past.output for user in long for past in people[user].history)
    seen = []
    real = users.exchanges
    users.exchanges = lambda *a, **how: seen.append(how.get("people")) or real(*a, **how)  # type: ignore[method-assign]
    get_method("per-pcs", {"sharers": 2, "rank": 2, "epochs": 1, "epochs_p": 1, "epochs_gate": 1,
                           "pieces": 1}).prepare(users)  # fmt: skip
    assert [set(each) for each in seen if each is not None] == [set(long)]


def test_directions_tell_people_apart_and_trust_long_histories() -> None:
    torch.manual_seed(0)
    means = torch.randn(40, 6) * torch.tensor([3.0, 3.0, 0.0, 0.0, 0.0, 0.0])
    noise = torch.tensor([1.0, 1.0, 5.0, 5.0, 1.0, 1.0])
    people = [mean + torch.randn(12, 6) * noise for mean in means]
    found = Directions.of(people, 2)
    # The two directions in which people differ, not those in which a person varies most.
    share = found.basis.square()
    assert share[:2].sum() > 0.95 * share.sum()
    assert (found.between > 3).all()
    z = torch.stack([found.z(each[:6]) for each in people])
    other = torch.stack([found.z(each[6:]) for each in people])
    nearest = torch.cdist(z, other).argmin(dim=1)
    assert (nearest == torch.arange(40)).float().mean() > 0.5  # by chance 0.025
    assert found.recognised(people) > 0.2  # by angle alone; by chance 0.025
    assert found.recognised([torch.randn(12, 6) for _ in range(40)]) < 0.15
    assert found.recognised(people[:1]) == 1.0
    one, many = found.z(people[0][:1]).norm(), found.z(people[0]).norm()
    exact = (means[0] - found.centre) @ found.basis * found.between.sqrt()
    assert many.item() == pytest.approx(exact.norm().item(), rel=0.2)
    assert found.z(torch.zeros(0, 6)).abs().max() == 0
    assert one < 2 * many
    with pytest.raises(TrimtabError, match="at least 2 people"):
        Directions.of(people[:1], 2)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("perfit(stage=3)", "stage"),
        ("perfit(rank_d=3)", "no option 'rank_d'; did you mean 'rank_"),
        ("perfit(rank_p=0)", "rank_p and epochs_p of at least 1"),
        ("perfit(positions=end)", r"expected positions all"),
        ("collective(rank=-1)", "rank of at least 0"),
        ("lora-c(depths=0.5)", "no option 'depths'"),
        ("lora-p(alpha=0)", "alpha above 0"),
        ("amortized(directions=0)", "directions"),
        ("amortized(read=0.3+1.5)", "each from 0 to 1"),
        ("amortized(ridge=0)", "ridge above 0"),
        ("collective(learning_rate=0)", "learning rate and a clip above 0"),
        ("collective-other", "nothing of collective is a user's own"),
        ("collective(settings=x.toml)", "takes no steering settings"),
    ],
)
def test_bad_options_are_named(line: str, message: str) -> None:
    with pytest.raises(TrimtabError, match=message):
        parse_methods(line)


def test_bad_input_at_training_is_named(tiny, tmp_path: Path, caplog) -> None:
    with pytest.raises(TrimtabError, match="layer 99 was asked for"):
        get_method("collective", {"layers": [99]}).prepare(users_of(tiny, tmp_path))
    with pytest.raises(TrimtabError, match="no linear modules named nothing"):
        get_method("lora-c", {"modules": ["nothing"]}).prepare(users_of(tiny, tmp_path))
    short = users_of(tiny, tmp_path, count=2, history=2)
    method = get_method("perfit", {"rank_c": 0, "rank_p": 1, "epochs_p": 1})
    method.prepare(short)
    assert "2 of 2 users have fewer than 4 past samples" in caplog.text
    with pytest.raises(TrimtabError, match="nothing is trained on this task"):
        get_method("collective").prepare(object())  # type: ignore[arg-type]


def test_labels_of_controls() -> None:
    labels = [
        named.label for named in with_controls(parse_methods("perfit,lora-p,oppu,collective"))
    ]
    assert labels == [
        "perfit", "perfit-other", "perfit-population", "lora-p", "lora-p-other",
        "oppu", "oppu-other", "oppu-population", "collective",
    ]  # fmt: skip
    assert {"collective", "perfit", "lora-c", "lora-p", "oppu", "amortized"} <= set(METHODS)
