"""Choosing how to steer on held-back samples, by likelihood alone: nothing is generated.

A setting is good when steering from a user's earlier samples raises the likelihood of that
user's own held-back answer against the rejected one. Dictionaries are read once, at every point
that any setting names; the held-back prompts run once, and only the answers run again for each
setting.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...errors import TrimtabError
from ..contrast.pairs import ContrastPair, Keys, key_text
from ..decoder.budget import tokens_that_fit
from ..model import SteeredModel
from ..reading.answer_batch import AnswerBatch
from ..reading.likelihood import answer_log_likelihoods, batch_log_likelihoods
from ..reading.teacher_forcing import TokenizedExchange, answer_batches
from ..vectors.positions import Positions
from ..vectors.steering import Steering
from ..vectors.steering_vectors import Site, points_of
from .dictionary import SteeringDictionary
from .population import Population
from .selection import Aggregation
from .settings import SteeringSettings

Measure = Literal["margin", "likelihood"]


@dataclass(frozen=True)
class Grid:
    """What is tried. The first value of each selection choice is where the search starts."""

    sites: tuple[tuple[Site, ...], ...] = (("attn", "mlp"), ("mid", "mlp"), ("mid",), ("block",))
    depths: tuple[float, ...] = (0.3, 0.45, 0.6, 0.72, 0.85)
    strengths: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    keys: tuple[Keys, ...] = ("input", "input+answer")
    aggregates: tuple[Aggregation, ...] = ("attentive", "mean", "naive")
    ks: tuple[int, ...] = (5, 1, 3, 8)
    temperatures: tuple[float, ...] = (0.1, 0.05, 0.2)
    half_lives: tuple[float, ...] = ()
    positions: tuple[Positions, ...] = ("answer", "all")
    parts: tuple[tuple[float, float], ...] = ()
    """Weights of a collective and a personal part, tried with every strength; see ``TwoParts``."""


@dataclass(frozen=True)
class Trial:
    """One setting, tried.

    Attributes:
        settings: What was tried; None is no steering.
        margin: Mean over users of the mean log-sigmoid of the margin, in nats: the margin is the
            log-likelihood of the user's own answer minus that of the rejected one. Higher is
            better; ln 0.5 is a coin toss. None where rejected answers were not looked at.
        likelihood: Mean over users of the mean log-likelihood of a token of the user's own answer,
            in nats. Higher is better.
        accuracy: Mean over users of the share of samples whose own answer beats every rejected;
            None likewise.
        seconds: How long it took.
    """

    settings: SteeringSettings | None
    margin: float | None
    likelihood: float
    accuracy: float | None
    seconds: float

    def score(self, by: Measure) -> float:
        """What a search goes by; higher is better."""
        if by == "likelihood":
            return self.likelihood
        assert self.margin is not None
        return self.margin

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Trial:
        """What ``to_json`` made.

        Raises:
            TrimtabError: It is not the record of a trial.
        """
        try:
            settings = plain["settings"] and SteeringSettings.of(plain["settings"])
            return cls(**{**plain, "settings": settings})
        except (KeyError, TypeError) as error:
            raise TrimtabError(f"not the record of a trial: {error!r}") from error


class Tuner:
    """Held-back samples that are ready to have settings tried on them.

    Args:
        model: The model.
        dictionaries: Each user's, from earlier samples, with keys from the input, at every layer
            and site that a setting will name.
        held_back: Each user's later pairs of response contrast: the positive side's prompt, the
            user's own answer and a rejected one. A sample may have several pairs.
        by: With ``likelihood``, rejected answers are not forced: most of the time is theirs.
        cache_tokens: So many tokens of prompts that have run are kept; prompts beyond that run
            again for every setting. Default: what fits in 0.3 of the free memory.

    Raises:
        TrimtabError: No held-back pair, one of a user without a dictionary, or a dictionary with
            other keys or of another model.
    """

    def __init__(
        self,
        model: SteeredModel,
        dictionaries: Mapping[str, SteeringDictionary],
        held_back: Mapping[str, Sequence[ContrastPair]],
        *,
        by: Measure = "margin",
        cache_tokens: int | None = None,
    ) -> None:
        self._users = [user for user, pairs in held_back.items() for _ in pairs]
        self._pairs = [pair for pairs in held_back.values() for pair in pairs]
        lacking = sorted({user for user in self._users if not dictionaries.get(user)})
        if not self._pairs or lacking:
            raise TrimtabError(
                "tuning needs held-back pairs of users who have a dictionary of earlier ones; got "
                + (f"none earlier for user {lacking[0]!r}" if lacking else "no held-back pairs")
            )
        self._model = model
        by_input = {user: dictionaries[user] for user in dict.fromkeys(self._users)}
        for user, dictionary in by_input.items():
            model.check_fingerprint(dictionary.fingerprint, f"the dictionary of {user!r}")
            if dictionary.keys_from != "input":
                raise TrimtabError(
                    f"tuning needs dictionaries with keys from the input, that of {user!r} has "
                    f"them from {dictionary.keys_from}"
                )
        self._dictionaries: dict[Keys, dict[str, SteeringDictionary]] = {
            "input": by_input,
            "input+answer": {
                user: _with_other_keys(model, dictionary) for user, dictionary in by_input.items()
            },
        }
        everybody = Population.of(*by_input.values())
        self._others = {
            user: everybody.minus(Population.of(dictionary))
            for user, dictionary in by_input.items()
        }
        self._queries = model.encoder.encode([pair.request for pair in self._pairs])
        # Where in what is forced each pair's own answer stands, which all pairs of a sample share.
        self._own: list[int] = []
        self._rejected: list[int] = []
        self._pair_of: list[int] = []
        self._exchanges: list[TokenizedExchange] = []
        there: dict[tuple[str, str, TokenizedExchange], int] = {}
        for number, (user, pair) in enumerate(zip(self._users, self._pairs, strict=True)):
            own = model.tokenized(pair.positive)
            place = there.setdefault((user, pair.sample_id, own), len(self._exchanges))
            self._own.append(place)
            added = [own] if place == len(self._exchanges) else []
            if by == "margin":
                added.append(model.tokenized(pair.negative))
                self._rejected.append(len(self._exchanges) + len(added) - 1)
            self._exchanges += added
            self._pair_of += [number] * len(added)
        self._batches: list[AnswerBatch] = []
        left = tokens_that_fit(model) if cache_tokens is None else cache_tokens
        with torch.inference_mode():
            for batch in answer_batches(model.parts, self._exchanges):
                left -= batch.cached_tokens
                if left < 0:
                    break
                self._batches.append(batch)
        ready = {row for batch in self._batches for row in batch.rows}
        # Those whose prompts are not kept.
        self._again = [row for row in range(len(self._exchanges)) if row not in ready]

    def steerings(self, settings: SteeringSettings) -> list[Steering | None]:
        """What each held-back pair's request picks from its user's dictionary.

        Never an entry of the same sample.
        """
        points = points_of(settings.layers(self._model), settings.sites)
        restricted = {
            user: dictionary.restricted(points)
            for user, dictionary in self._dictionaries[settings.keys].items()
        }
        return [
            settings.select(
                restricted[user],
                query,
                before=pair.timestamp or None,
                without={pair.sample_id},
                others=self._others[user],
            )
            for user, pair, query in zip(self._users, self._pairs, self._queries, strict=True)
        ]

    def try_settings(self, settings: SteeringSettings | None) -> Trial:
        """Score one setting on the held-back pairs."""
        started = time.monotonic()
        picked = self.steerings(settings) if settings else [None] * len(self._pairs)
        steerings = [picked[pair] for pair in self._pair_of]
        # Both start at the last prompt token, and leave the prompts' caches as they are.
        if settings is None or settings.positions == "answer" or type(settings.positions) is int:
            likelihoods = torch.zeros(len(self._exchanges))
            with torch.inference_mode():
                for batch in self._batches:
                    rows = [steerings[row] for row in batch.rows]
                    likelihoods[list(batch.rows)] = batch_log_likelihoods(
                        self._model, batch, self._exchanges, rows
                    )
            if self._again:
                likelihoods[self._again] = answer_log_likelihoods(
                    self._model,
                    [self._exchanges[row] for row in self._again],
                    [steerings[row] for row in self._again],
                )
        else:
            likelihoods = answer_log_likelihoods(self._model, self._exchanges, steerings)
        return self._trial(settings, likelihoods, time.monotonic() - started)

    def _trial(self, settings: SteeringSettings | None, found: Tensor, seconds: float) -> Trial:
        """Means over users of the means over samples; of a sample's pairs the worst counts."""
        margins: dict[str, dict[str, float]] = {user: {} for user in self._users}
        likelihoods: dict[str, dict[str, float]] = {user: {} for user in self._users}
        for number, (user, pair) in enumerate(zip(self._users, self._pairs, strict=True)):
            own = self._own[number]
            likelihoods[user][pair.sample_id] = float(found[own]) / len(self._exchanges[own].answer)
            if self._rejected:
                margin = float(found[own] - found[self._rejected[number]])
                known = margins[user].get(pair.sample_id, math.inf)
                margins[user][pair.sample_id] = min(margin, known)
        users = [torch.tensor(list(samples.values())) for samples in margins.values() if samples]
        return Trial(
            settings,
            margin=_mean(nn.functional.logsigmoid(own).mean() for own in users) if users else None,
            likelihood=_mean(
                torch.tensor(list(samples.values())).mean() for samples in likelihoods.values()
            ),
            accuracy=_mean((own > 0).float().mean() for own in users) if users else None,
            seconds=seconds,
        )


def _mean(values: Iterable[Tensor]) -> float:
    return float(torch.stack(list(values)).mean())


def _with_other_keys(model: SteeredModel, dictionary: SteeringDictionary) -> SteeringDictionary:
    """The same entries under keys made of input and answer."""
    texts = [key_text(entry.key, entry.answer, "input+answer") for entry in dictionary.entries]
    other = dictionary.restricted(dictionary.points)
    other.keys, other.keys_from = model.encoder.encode(texts), "input+answer"
    other.entries = [
        replace(entry, key=text) for entry, text in zip(dictionary.entries, texts, strict=True)
    ]
    return other


def search(
    tuner: Tuner,
    grid: Grid,
    *,
    by: Measure = "margin",
    start: SteeringSettings | None = None,
    budget_seconds: float = float("inf"),
    done: Iterable[Trial] = (),
) -> Iterator[Trial]:
    """Try settings coarse to fine and yield each trial as it is done.

    Unsteered first; then all sites, depths and strengths; then, from the best of these, the two
    parts with every strength, what is picked and how it is combined; last the positions.

    Args:
        tuner: The held-back samples.
        grid: What is tried.
        by: What makes a setting the better one. The margin is for choices, such as that of a tool;
            for texts it grows with whatever is unlike the rejected ones, and the likelihood of
            the user's own is the better guide.
        start: What the first round takes for everything else.
        budget_seconds: No new trial is begun after this.
        done: Trials of an earlier search of the same samples: not tried again, but yielded in
            their place, so that an interrupted search is resumed.
    """
    started = time.monotonic()
    known = {trial.settings: trial for trial in done}
    best: Trial | None = None

    def tried(settings: SteeringSettings | None) -> Trial | None:
        nonlocal best
        trial = known.get(settings)
        if trial is None:
            if time.monotonic() - started > budget_seconds:
                return None
            trial = known[settings] = tuner.try_settings(settings)
        if settings and (best is None or trial.score(by) > best.score(by)):
            best = trial
        return trial

    start = start or SteeringSettings()
    rounds: list[Callable[[SteeringSettings], list[SteeringSettings]]] = [
        lambda base: [
            replace(base, sites=sites, depths=(depth,), strength=strength)
            for sites in grid.sites
            for depth in grid.depths
            for strength in grid.strengths
        ],
        lambda base: [
            replace(
                base,
                collective=collective,
                personal=personal,
                strength=strength,
                contrast="response",  # the held-back pairs' kind, and the dictionaries'
            )
            for collective, personal in grid.parts
            for strength in grid.strengths
        ],
        lambda base: [replace(base, keys=keys) for keys in grid.keys if base.picks],
        lambda base: [
            replace(base, aggregate=aggregate, k=k)
            for aggregate in grid.aggregates
            for k in (grid.ks if aggregate != "naive" else grid.ks[:1])
            if base.picks
        ],
        lambda base: [
            replace(base, temperature=temperature)
            for temperature in grid.temperatures
            if base.picks and base.aggregate == "attentive"
        ],
        lambda base: [
            replace(base, half_life=half_life) for half_life in grid.half_lives if base.picks
        ],
        lambda base: [
            replace(base, strength=round(base.strength * factor, 3)) for factor in (0.7, 1.0, 1.4)
        ],
        lambda base: [replace(base, positions=positions) for positions in grid.positions],
    ]
    if (unsteered := tried(None)) is not None:
        yield unsteered
    base = start
    for candidates in rounds:
        for settings in candidates(base):
            if settings in known and best is not None and settings == best.settings:
                continue
            trial = tried(settings)
            if trial is None:
                return
            yield trial
        if best is not None and best.settings is not None:
            base = best.settings
