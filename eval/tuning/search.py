"""Tuning how a task's users are steered, on their training samples alone.

Each user's latest training samples are held back; dictionaries are built from the earlier ones.
Nothing of a test sample is read. Trials are kept as they end, so a search that was broken off can
be resumed.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import TrimtabError
from ...steering.dictionaries.settings import SteeringSettings
from ...steering.dictionaries.tuning import Grid, Measure, Trial, Tuner, search
from ...steering.vectors.positions import Positions
from ..methods.entries import kept_dictionaries
from ..runs.folder import run_folder

if TYPE_CHECKING:
    from ...steering.contrast.pairs import ContrastPair
    from ...steering.model import SteeredModel


@dataclass(frozen=True)
class TuningTask:
    """What is tuned on.

    Attributes:
        name: The task's.
        data: What tells these samples from others, as plain data.
        users: Whose samples.
        read_pairs: Gives each user's training pairs of response contrast, in the order of time.
            The model writes rejected answers first, which takes long.
        start: What the first round takes for all that it does not try.
        positions: Which positions are worth trying.
        parts: Which weights of a collective and a personal part are.
        by: What makes a setting the better one.
    """

    name: str
    data: Mapping[str, Any]
    users: tuple[str, ...]
    read_pairs: Callable[[], Mapping[str, Sequence[ContrastPair]]]
    start: SteeringSettings = field(default_factory=SteeringSettings)
    positions: tuple[Positions, ...] = Grid().positions
    parts: tuple[tuple[float, float], ...] = Grid().parts
    by: Measure = "likelihood"


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    Attributes:
        trials: In the order of the search.
        by: What it went by.
        out_of_time: Whether the budget ended it.
        interrupted: Whether Ctrl-C ended it.
    """

    trials: tuple[Trial, ...]
    by: Measure
    out_of_time: bool = False
    interrupted: bool = False

    @property
    def unsteered(self) -> Trial | None:
        """The trial without steering, which is the first."""
        return next((trial for trial in self.trials if trial.settings is None), None)

    @property
    def best(self) -> Trial | None:
        """The steered trial with the highest score."""
        steered = [trial for trial in self.trials if trial.settings is not None]
        return max(steered, key=lambda trial: trial.score(self.by), default=None)


def check_share(share: float) -> None:
    """Refuse a share of samples to hold back that is no part of them."""
    if not 0 < share < 1:
        raise TrimtabError(f"expected a share of samples to hold back above 0 and below 1: {share}")


def split_by_time(
    pairs: Mapping[str, Sequence[ContrastPair]], share: float
) -> tuple[dict[str, list[ContrastPair]], dict[str, list[ContrastPair]]]:
    """Each user's earlier pairs to build from, and the latest samples' to try settings on.

    Args:
        pairs: By user, in the order of time; a sample may have several.
        share: Of each user's samples, rounded up, that are held back; all but one at most.

    Raises:
        TrimtabError: A share out of range, or nobody with two samples.
    """
    check_share(share)
    build: dict[str, list[ContrastPair]] = {}
    held_back: dict[str, list[ContrastPair]] = {}
    for user, own in pairs.items():
        samples = list(dict.fromkeys(pair.sample_id for pair in own))
        if len(samples) < 2:
            continue
        late = set(samples[-min(math.ceil(share * len(samples)), len(samples) - 1) :])
        build[user] = [pair for pair in own if pair.sample_id not in late]
        held_back[user] = [pair for pair in own if pair.sample_id in late]
    if not build:
        raise TrimtabError(
            f"tuning needs users with at least 2 training samples each, got {len(pairs)} users "
            "and none with so many"
        )
    return build, held_back


def tune(
    model: SteeredModel,
    task: TuningTask,
    grid: Grid,
    *,
    folder: Path,
    prepared: Path,
    share: float = 0.25,
    budget_seconds: float = math.inf,
    on_read: Callable[[int], None] | None = None,
    on_trial: Callable[[Trial], None] | None = None,
) -> Tuned:
    """Search for the settings that make users' own held-back answers likeliest.

    Args:
        model: The model.
        task: What it is tuned on.
        grid: What is tried.
        folder: Where trials are kept as they end; in the end also ``steering.toml``.
        prepared: Where what was read from the model is kept.
        share: Of each user's samples that are held back.
        budget_seconds: No trial is begun after this, from when the pairs are read; reading the
            dictionaries counts.
        on_read: Told how many users' dictionaries more there are.
        on_trial: Told of each trial, those of an earlier part of the search too.

    Raises:
        TrimtabError: A folder of another search, or as for ``split_by_time``.
    """
    check_share(share)
    configuration = {
        "command": "tune",
        "task": task.name,
        "data": dict(task.data),
        "model": model.configuration(),
        "users": list(task.users),
        "share": share,
        "by": task.by,
        "grid": asdict(grid),
        "start": asdict(task.start),
    }
    trials: list[Trial] = []
    interrupted = False
    with run_folder(folder, configuration) as results:
        pairs = task.read_pairs()
        results.hold_to_vectors({"training pairs": _digest(pairs)})
        build, held_back = split_by_time(pairs, share)
        started = time.monotonic()
        known = [Trial.from_json(record) for record in results.records]
        try:
            dictionaries = kept_dictionaries(
                model,
                build,
                layers={model.layer_at(depth) for depth in {*grid.depths, *task.start.depths}},
                keys="input",
                folder=prepared,
                progress=on_read,
            )
            tuner = Tuner(model, dictionaries, held_back, by=task.by)
            found = search(
                tuner,
                grid,
                by=task.by,
                start=task.start,
                budget_seconds=budget_seconds,
                done=known,
            )
            for trial in found:
                if trial not in known:
                    results.append(trial.to_json())
                trials.append(trial)
                if on_trial is not None:
                    on_trial(trial)
        except KeyboardInterrupt:
            interrupted = True
        out_of_time = not interrupted and time.monotonic() - started > budget_seconds
        tuned = Tuned(tuple(trials), task.by, out_of_time, interrupted)
        if tuned.best is not None and tuned.best.settings is not None:
            tuned.best.settings.save(folder / "steering.toml")
    return tuned


def _digest(pairs: Mapping[str, Sequence[ContrastPair]]) -> str:
    plain = {user: [asdict(pair) for pair in own] for user, own in pairs.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]
