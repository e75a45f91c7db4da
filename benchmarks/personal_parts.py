"""What of people's own texts a personal part of steering finds, beyond what all have in common.

    python -m benchmarks.personal_parts --data LaMP_7 --users 60 --history 16

On each user's test and, apart, on their latest past samples, which are then held back: how much
likelier the user's own text becomes by the collective part alone (the mean vector of all other
users), and how much a personal part adds to it. A personal part is the user's mean vector minus the
others', from one of four contrasts:

    response   the user's text against what the model writes after other people's samples
    neutral    against what the model writes by itself
    people     against what another user wrote to the most similar request
    context    after the user's own samples in the prompt against after other people's

as it is (``raw``); weighted by how consistent the user's entries are (``consistent``: 1 minus the
share of its squared norm that is the entries' own scatter, as James and Stein shrink a mean); or by
that in each direction in which users are known to differ (``subspace``: principal directions of the
other users' means). Beside each gain stands the same by another user's personal part.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from trimtab.eval.methods.entries import kept_dictionaries
from trimtab.eval.statistics import paired_difference
from trimtab.eval.texts.plan import make_plan
from trimtab.eval.texts.users import TextUsers
from trimtab.files import home
from trimtab.steering import (
    ContrastPair,
    Exchange,
    Point,
    SteeredModel,
    Steering,
    SteeringDictionary,
    SteeringVectors,
)
from trimtab.steering.dictionaries.derangement import derangement
from trimtab.steering.reading.likelihood import batch_log_likelihoods
from trimtab.steering.reading.teacher_forcing import TokenizedExchange, answer_batches

KINDS = ("response", "neutral", "people", "context")
HOW = ("raw", "consistent", "subspace")
HELD_BACK = 2
LEAST_LEFT = 4


@dataclass(frozen=True)
class OwnText:
    """One own text to make likelier: a test, or a past sample that is held back."""

    user: str
    held_back: bool
    exchange: TokenizedExchange


@dataclass(frozen=True)
class OwnVectors:
    """One user's vectors of one contrast at one point, those of held-back samples left out."""

    vectors: Tensor

    @property
    def mean(self) -> Tensor:
        return self.vectors.mean(dim=0)

    @property
    def scatter(self) -> Tensor:
        """The mean's variance in each dimension; all of it unknown with a single entry."""
        count = len(self.vectors)
        if count < 2:
            return torch.full_like(self.mean, float("inf"))
        return self.vectors.var(dim=0) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", default="lamp-7")
    parser.add_argument("--data", help="the benchmark's folder; default: the built-in world")
    parser.add_argument("--users", type=int, default=60)
    parser.add_argument("--history", type=int, default=16)
    parser.add_argument("--depth", type=float, default=0.6)
    parser.add_argument("--site", default="block")
    parser.add_argument("--collective", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    given = {name: getattr(options, name) for name in ("task", "data", "users", "history", "seed")}
    study = make_plan({**given, "methods": "zero-shot"})
    dataset = study.dataset()
    model = SteeredModel.from_pretrained(study.model)
    point = Point(model.layer_at(options.depth), options.site)
    prepared = TextUsers(
        model, study.running_task(), dataset.users, folder=home() / "eval", seed=options.seed
    )
    tests = {user.id: [(t.input, t.output) for t in user.tests] for user in dataset.users}
    held = {
        user: {s.id for s in past[-HELD_BACK:]} if len(past) >= HELD_BACK + LEAST_LEFT else set()
        for user, past in prepared.past.items()
    }
    items = asked(prepared, tests, held)
    found = {kind: read(prepared, kind, point, held) for kind in KINDS}
    users = sorted(set.intersection(*(set(own) for own in found.values())))
    items = [item for item in items if item.user in users]
    scored = Scorer(model, items, point)

    collective = {user: options.collective * others_mean(found["response"], user) for user in users}
    lender = derangement(users, options.seed)
    table = Table("", "", "tests", "over another's", "held back", "over another's", box=None)
    alone = scored(collective)
    tests_gain, held_gain = scored.told(alone, scored({}))
    table.add_row("collective alone", "", tests_gain, "", held_gain, "")
    for kind in KINDS:
        for how in HOW:
            parts = {user: personal(found[kind], user, how) for user in users}
            own = scored({user: collective[user] + parts[user] for user in users})
            other = scored({user: collective[user] + parts[lender[user]] for user in users})
            gain, apart = scored.told(own, alone), scored.told(own, other)
            table.add_row(kind, how, gain[0], apart[0], gain[1], apart[1])
    console = Console(width=170)
    console.print(f"{dataset.described()}; {len(users)} users; nats a token at {tuple(point)}")
    console.print(table)


def asked(
    prepared: TextUsers,
    tests: Mapping[str, Sequence[tuple[str, str]]],
    held: Mapping[str, set[str]],
) -> list[OwnText]:
    """What is to become likelier: the tests, and each user's held-back samples."""

    def item(user: str, held_back: bool, request: str, output: str) -> OwnText:
        exchange = Exchange(prepared.prompt.fit(request).messages, output.strip())
        return OwnText(user, held_back, prepared.model.tokenized(exchange))

    found = []
    for user, past in prepared.past.items():
        found += [item(user, False, *test) for test in tests[user]]
        found += [item(user, True, s.input, s.output) for s in past if s.id in held[user]]
    return found


def read(
    prepared: TextUsers, kind: str, point: Point, held: Mapping[str, set[str]]
) -> dict[str, OwnVectors]:
    """Each user's vectors of one contrast at the point."""
    if kind == "people":
        dictionaries = kept_dictionaries(
            prepared.model,
            people_pairs(prepared),
            layers=[point.layer],
            keys="input",
            folder=prepared.folder / "entries",
        )
    else:
        dictionaries = prepared.dictionaries(kind, layers=[point.layer])  # type: ignore[arg-type]
    found = {user: kept(own, point, held[user]) for user, own in dictionaries.items()}
    return {user: own for user, own in found.items() if len(own.vectors)}


def kept(dictionary: SteeringDictionary, point: Point, held: set[str]) -> OwnVectors:
    rows = [n for n, entry in enumerate(dictionary.entries) if entry.sample_id not in held]
    return OwnVectors(dictionary.vectors[rows, dictionary.points.index(point)].float())


def people_pairs(prepared: TextUsers) -> dict[str, list[ContrastPair]]:
    """What each user wrote against what another one wrote to the most similar request."""
    every = [(user, s) for user, past in prepared.past.items() for s in past if s.output.strip()]
    embedded = prepared.encoder.encode([prepared.body(sample.input) for _, sample in every])
    pairs: dict[str, list[ContrastPair]] = {user: [] for user in prepared.past}
    for row, (user, sample) in enumerate(every):
        nearest = (embedded @ embedded[row]).argsort(descending=True).tolist()
        other = next(every[n][1] for n in nearest if every[n][0] != user)
        messages = prepared.prompt.fit(sample.input).messages
        pairs[user].append(
            ContrastPair(
                sample_id=sample.id,
                request=prepared.body(sample.input),
                positive=Exchange(messages, sample.output),
                negative=Exchange(messages, other.output),
                timestamp=sample.timestamp,
            )
        )
    return pairs


def others_mean(entries: Mapping[str, OwnVectors], user: str) -> Tensor:
    return torch.cat([own.vectors for other, own in entries.items() if other != user]).mean(dim=0)


def personal(entries: Mapping[str, OwnVectors], user: str, how: str) -> Tensor:
    """The user's mean without the others', weighted."""
    own = entries[user]
    apart = own.mean - others_mean(entries, user)
    if how == "raw":
        return apart
    if how == "consistent":
        share = (1 - own.scatter.sum() / apart.square().sum()).clamp(min=0)
        return share * apart
    rest = [found for other, found in entries.items() if other != user and len(found.vectors) > 1]
    means = torch.stack([found.mean for found in rest])
    _, sizes, directions = torch.linalg.svd(means - means.mean(dim=0), full_matrices=False)
    # How much the others' means scatter in a direction, without their entries' own scatter.
    within = torch.stack([(found.vectors @ directions.T).var(dim=0) for found in rest])
    counts = torch.tensor([len(found.vectors) for found in rest])[:, None]
    between = (sizes.square() / (len(rest) - 1) - (within / counts).mean(dim=0)).clamp(min=0)
    noise = within.mean(dim=0) / len(own.vectors)
    return (between / (between + noise) * (directions @ apart)) @ directions


class Scorer:
    """Log-likelihood a token of every item, the prompts run once."""

    def __init__(self, model: SteeredModel, items: Sequence[OwnText], point: Point) -> None:
        self._model, self._items, self._point = model, items, point
        self._exchanges = [item.exchange for item in items]
        with torch.inference_mode():
            self._batches = list(answer_batches(model.parts, self._exchanges))

    @torch.inference_mode()
    def __call__(self, vectors: Mapping[str, Tensor]) -> list[float]:
        """Steered by each user's vector from the last prompt token on; without one, unsteered."""
        steerings = {
            user: Steering(SteeringVectors({self._point: vector}), positions="answer")
            for user, vector in vectors.items()
        }
        found = torch.zeros(len(self._items))
        for batch in self._batches:
            rows = [steerings.get(self._items[row].user) for row in batch.rows]
            found[list(batch.rows)] = batch_log_likelihoods(
                self._model, batch, self._exchanges, rows
            )
        lengths = torch.tensor([len(exchange.answer) for exchange in self._exchanges])
        return (found / lengths).tolist()

    def told(self, first: Sequence[float], second: Sequence[float]) -> tuple[str, str]:
        """The paired difference on tests, and the one on held-back samples."""
        both = []
        for held_back in (False, True):
            rows = [n for n, item in enumerate(self._items) if item.held_back == held_back]
            gap = paired_difference(
                [first[n] for n in rows],
                [second[n] for n in rows],
                [self._items[n].user for n in rows],
            )
            both.append(f"{gap.mean:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})")
        return both[0], both[1]


if __name__ == "__main__":
    main()
