"""The tables at the end of `trimtab eval`, in colour on a terminal, as plain text anywhere else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...eval.metrics import METRICS, Metric
from ...eval.statistics.notes import PERSONAL_NOTE, interval_note, p_note
from .cells import UNKNOWN, number, titled_table, with_interval

if TYPE_CHECKING:
    from ...eval.statistics.costs import Cost
    from ...eval.statistics.gains import Gap
    from ...eval.statistics.standings import Standings

# Wide enough for every table: a file or a pipe has no width of its own.
_PLAIN_WIDTH = 140
_SHOWN_METRICS = 2  # in the tables of differences; summary.json has all


def print_standings(console: Console, standings: Standings) -> None:
    """Print scores, differences to the baseline, personal gains, costs and repeats."""
    if not console.is_terminal:
        console.width = max(console.width, _PLAIN_WIDTH)
    if not standings.scores:
        return
    console.print(_scores(standings), "")
    print_comparisons(console, standings)
    console.print(_costs(standings.costs))
    print_repeats(console, standings)
    for what, count in (
        ("had nothing of the user's to steer with", sum(c.unsteered for c in standings.costs)),
        ("had something cut to fit the context", sum(c.cut for c in standings.costs)),
        ("failed and are in no score; the same command tries them again", _failed(standings.costs)),
    ):
        if count:
            console.print(f"{count} answers {what}.", highlight=False)
    print_notes(console, standings)


def print_comparisons(console: Console, standings: Standings) -> None:
    """Print the differences to the baseline, and what of them is personal."""
    gaps = _shown(standings)
    if gaps:
        console.print(_differences(standings, gaps), "")
    if standings.personal:
        console.print(_personal(standings), "")


def print_repeats(console: Console, standings: Standings) -> None:
    """Print how scores vary over repeats, and pass^k; nothing where nothing was repeated."""
    for metric in _main(standings):
        if any(spread.metric == metric for spread in standings.repeats):
            console.print("", _repeats(standings, metric))


def print_notes(console: Console, standings: Standings) -> None:
    """Print how the intervals and p-values above were worked out."""
    users = [score.estimate.users for score in standings.scores]
    samples = max(score.estimate.values for score in standings.scores)
    notes = [f"{samples} samples of {max(users)} users; in brackets {interval_note(users)}."]
    gaps = _shown(standings)
    if gaps:
        corrected = f"for the {gaps[0].comparisons} methods compared with {standings.baseline}"
        notes.append(f"{p_note([gap.difference.users for gap in gaps], corrected)}.")
    if standings.personal:
        notes.append(PERSONAL_NOTE)
    console.print("")
    for note in notes:
        console.print(Text(note))


def _shown(standings: Standings) -> list[Gap]:
    return [gap for gap in standings.gaps if gap.metric in _main(standings)]


def _main(standings: Standings) -> list[str]:
    """The main metric and the likelihood, which tells small differences best, or the second."""
    there = {score.metric for score in standings.scores if score.estimate.values}
    scored = [metric for metric in standings.metrics if metric in there]
    likely = [metric for metric in scored if metric == "log-likelihood"]
    return list(dict.fromkeys([*scored[:1], *likely, *scored[1:]]))[:_SHOWN_METRICS]


def _failed(costs: Sequence[Cost]) -> int:
    return sum(cost.errors for cost in costs)


def _scores(standings: Standings) -> Table:
    table = titled_table("scores", ["", *map(_named, standings.metrics)], first="folded")
    of = {(score.method, score.metric): score.estimate for score in standings.scores}
    for method in dict.fromkeys(score.method for score in standings.scores):
        cells = [with_interval(*of[method, metric][:3], ".3f") for metric in standings.metrics]
        table.add_row(Text(method), *cells)
    return table


def _differences(standings: Standings, gaps: Sequence[Gap]) -> Table:
    metrics = _main(standings)
    columns = [column for metric in metrics for column in (_named(metric), "p (Holm)")]
    table = titled_table(f"minus {standings.baseline}", ["", *columns], first="folded")
    of = {(gap.method, gap.metric): gap for gap in gaps}
    for method in dict.fromkeys(gap.method for gap in gaps):
        table.add_row(Text(method), *_gap_cells([of.get((method, m)) for m in metrics]))
    return table


def _personal(standings: Standings) -> Table:
    metrics = _main(standings)
    columns = [column for metric in metrics for column in (_named(metric), "p")]
    table = titled_table("minus its controls", ["", *columns], first="folded")
    for method in dict.fromkeys(own.method for own in standings.personal):
        of = {own.metric: own for own in standings.personal if own.method == method}
        others = dict.fromkeys(gap.other for own in of.values() for gap in own.controls)
        for other in others:
            gaps = [
                next((g for g in of[m].controls if g.other == other), None) if m in of else None
                for m in metrics
            ]
            table.add_row(Text(f"{method} minus {other}"), *_gap_cells(gaps))
        cells = []
        for own in (of.get(metric) for metric in metrics):
            gain = own.gain if own else None
            cells.append("none shown" if gain is None else number(gain, "+.3f"))
            cells.append(number(own.p_value, ".3f") if own else UNKNOWN)
        table.add_row(Text(f"personal gain of {method}, p (Holm)"), *cells, style="bold")
    return table


def _costs(costs: Sequence[Cost]) -> Table:
    times = {
        "latency, s": [cost.latency for cost in costs],
        "s in batches": [cost.batch_seconds for cost in costs],
    }
    times = {name: values for name, values in times.items() if not all(map(math.isnan, values))}
    columns = ["", "prompt tokens", "answer tokens", *times, "cut", "errors"]
    table = titled_table("per sample", columns, first="folded")
    for place, cost in enumerate(costs):
        table.add_row(
            Text(cost.method),
            number(cost.prompt_tokens, ".0f"),
            number(cost.completion_tokens, ".0f"),
            *(number(values[place], ".2f") for values in times.values()),
            str(cost.cut),
            str(cost.errors),
        )
    return table


def _repeats(standings: Standings, metric: str) -> Table:
    main = [spread for spread in standings.repeats if spread.metric == metric]
    runs = max(each.spread.runs for each in main)
    columns = ["", "mean", "deviation of the means", "deviation at a sample", f"pass^{runs}"]
    table = titled_table(f"{_named(metric)} over {runs} repeats", columns, first="folded")
    for each in main:
        table.add_row(
            Text(each.method),
            number(each.spread.mean, ".3f"),
            number(each.spread.deviation, ".3f"),
            number(each.spread.within**0.5, ".3f"),
            number(each.passed, ".3f"),
        )
    return table


def _gap_cells(gaps: Sequence[Gap | None]) -> list[str]:
    cells = []
    for gap in gaps:
        if gap is None:
            cells += [UNKNOWN, UNKNOWN]
        else:
            cells.append(with_interval(*gap.difference[:3], "+.3f"))
            cells.append(number(gap.p_value, ".3f"))
    return cells


def _named(metric: str) -> str:
    more = METRICS.get(metric, Metric(metric, higher_is_better=True)).higher_is_better
    return metric if more else f"{metric} (less is better)"
