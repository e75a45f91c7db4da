"""Two runs of the same task side by side: what was configured differently, and what came of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import TrimtabError
from ..metrics import Metric
from ..statistics.gains import Gap, corrected_gaps, run_metric
from ..statistics.totals import metric_difference, score_of
from .folder import PROVENANCE
from .record import Record, Run


@dataclass(frozen=True)
class SettingChange:
    """One value of the configuration that differs; None is one that a run does not have."""

    name: str
    first: str | None
    second: str | None


@dataclass(frozen=True)
class Change:
    """One sample that came out otherwise under the same method.

    Attributes:
        first: Its record in the first run.
        second: Its record in the second run.
        gain: How much better the second is in the main metric; NaN where one has no score.
    """

    first: Record
    second: Record
    gain: float


@dataclass(frozen=True)
class RunComparison:
    """Two runs compared, the second minus the first.

    Attributes:
        first: The first run.
        second: The second run.
        methods: Those that both have, in the order of the first.
        left_out: Methods that only one of them has.
        samples: How many samples both have, with the same gold.
        other_gold: How many both have with different golds; they are not compared.
        settings: What differs in the configuration.
        gaps: By metric and method; a gap's ``other`` is the same method in the first run.
        changes: Samples whose output or score differs, the greatest change first.
    """

    first: Run
    second: Run
    methods: tuple[str, ...]
    left_out: tuple[str, ...]
    samples: int
    other_gold: int
    settings: tuple[SettingChange, ...]
    gaps: dict[str, tuple[Gap, ...]]
    changes: tuple[Change, ...]


def compare_runs(
    first: Run, second: Run, *, metrics: Sequence[str] = (), methods: Sequence[str] = ()
) -> RunComparison:
    """Compare two runs on the samples that both have.

    Args:
        first: What is subtracted.
        second: The other.
        metrics: Which, the first of them ranking the changes; empty is all that both have.
        methods: Which; empty is all that both have.

    Raises:
        TrimtabError: They are of different tasks, or have no sample, method or metric in common.
    """
    if first.task != second.task:
        raise TrimtabError(
            f"expected two runs of one task, got {first.task!r} in {first.path} and "
            f"{second.task!r} in {second.path}"
        )
    shared = _chosen("method", methods, first.methods, second.methods)
    measured = _chosen("metric", metrics, first.metrics, second.metrics)
    pairs, other_gold = _pairs(first, second, shared)
    if not pairs:
        raise TrimtabError(
            f"{first.path} and {second.path} have no sample in common"
            + (f" with the same gold ({other_gold} differ)" if other_gold else "")
            + "; were they made from the same data and seed?"
        )
    metrics_of = {name: run_metric(first, name) for name in measured}
    main = metrics_of[measured[0]]
    changes = [Change(one, other, _gain(one, other, main)) for one, other in pairs]
    return RunComparison(
        first=first,
        second=second,
        methods=tuple(shared),
        left_out=tuple(sorted({*first.methods} ^ {*second.methods})),
        samples=len({one.sample_id for one, _ in pairs}),
        other_gold=other_gold,
        settings=tuple(
            setting
            for setting in _settings(first.configuration, second.configuration)
            if setting.name != f"{PROVENANCE}.date"
        ),
        gaps={name: _gaps(pairs, shared, metric) for name, metric in metrics_of.items()},
        changes=tuple(sorted(filter(_changed, changes), key=_size, reverse=True)),
    )


def _chosen(
    what: str, asked: Sequence[str], first: Sequence[str], second: Sequence[str]
) -> list[str]:
    """Those asked for, or all that both have."""
    both = [name for name in first if name in second]
    lacking = [name for name in asked if name not in both]
    if lacking or not both:
        fault = (
            f"no {what} {lacking[0]!r} in both runs" if lacking else f"no {what} is in both runs"
        )
        raise TrimtabError(
            f"{fault}; the first has {', '.join(first) or 'none'}, the second "
            f"{', '.join(second) or 'none'}"
        )
    return list(dict.fromkeys(asked)) or both


def _pairs(
    first: Run, second: Run, methods: Sequence[str]
) -> tuple[list[tuple[Record, Record]], int]:
    pairs, other_gold = [], set()
    for method in methods:
        for sample_id, one in first.of[method].items():
            other = second.of[method].get(sample_id)
            if other is None:
                continue
            if one.gold == other.gold:
                pairs.append((one, other))
            else:
                other_gold.add(sample_id)
    return pairs, len(other_gold)


def _gaps(
    pairs: Sequence[tuple[Record, Record]], methods: Sequence[str], metric: Metric
) -> tuple[Gap, ...]:
    gaps = []
    for method in methods:
        own = [pair for pair in pairs if pair[0].method == method]
        gap = metric_difference([new for _, new in own], [old for old, _ in own], metric)
        gaps.append((method, method, gap))
    return tuple(corrected_gaps(gaps, metric))


def _gain(one: Record, other: Record, metric: Metric) -> float:
    sign = 1 if metric.higher_is_better else -1
    return sign * (score_of(other, metric) - score_of(one, metric))


def _changed(change: Change) -> bool:
    return change.first.output != change.second.output or (
        change.first.error != change.second.error or abs(change.gain) > 0
    )


def _size(change: Change) -> float:
    return -1.0 if math.isnan(change.gain) else abs(change.gain)


def _settings(first: Any, second: Any, name: str = "") -> Iterator[SettingChange]:
    if isinstance(first, dict) and isinstance(second, dict):
        for key in dict.fromkeys([*first, *second]):
            inner = f"{name}.{key}" if name else str(key)
            if key in first and key in second:
                yield from _settings(first[key], second[key], inner)
            else:
                yield SettingChange(
                    inner,
                    _written(first[key]) if key in first else None,
                    _written(second[key]) if key in second else None,
                )
    elif first != second:
        yield SettingChange(name, _written(first), _written(second))


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
