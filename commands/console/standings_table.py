"""The tables at the end of `trimtab eval`, in colour on a terminal, as plain text anywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...eval.metrics import METRICS
from .cells import number, titled_table, with_interval

if TYPE_CHECKING:
    from ...eval.statistics.costs import Cost
    from ...eval.statistics.gains import Gap
    from ...eval.statistics.standings import Standings

# Wide enough for every table: a file or a pipe has no width of its own.
_PLAIN_WIDTH = 140
_SHOWN_METRICS = 2  # in the tables of differences; summary.json has all


def print_standings(console: Console, found: Standings) -> None:
    """Print scores, differences to the baseline, personal gains and costs."""
    if not console.is_terminal:
        console.width = max(console.width, _PLAIN_WIDTH)
    if not found.scores:
        return
    console.print(_scores(found), "")
    gaps = [gap for gap in found.gaps if gap.metric in _main(found)]
    if gaps:
        console.print(_differences(found, gaps), "")
    if found.personal:
        console.print(_personal(found), "")
    console.print(_costs(found.costs))
    if any(spread.metric == found.metrics[0] for spread in found.repeats):
        console.print("", _repeats(found))
    for what, count in (
        ("had nothing of the user's to steer with", sum(c.unsteered for c in found.costs)),
        ("had something cut to fit the context", sum(c.cut for c in found.costs)),
        ("failed and are in no score; the same command tries them again", _failed(found.costs)),
    ):
        if count:
            console.print(f"{count} answers {what}.", highlight=False)
    users = max(score.estimate.users for score in found.scores)
    samples = max(score.estimate.values for score in found.scores)
    console.print(
        f"\n{samples} samples of {users} users; in brackets 95 % intervals over users (bootstrap); "
        "p by flipping the signs of whole users, corrected for several methods (Holm).",
        highlight=False,
    )


def _main(found: Standings) -> list[str]:
    """The main metric, and the likelihood, which tells small differences best."""
    scored = {gap.metric for gap in found.gaps}
    first = [metric for metric in found.metrics if metric in scored][: _SHOWN_METRICS - 1]
    likely = [m for m in found.metrics if m == "log-likelihood" and m in scored]
    return list(dict.fromkeys([*first, *likely]))


def _failed(costs: Sequence[Cost]) -> int:
    return sum(cost.errors for cost in costs)


def _scores(found: Standings) -> Table:
    table = titled_table("scores", ["", *map(_named, found.metrics)], first="folded")
    of = {(score.method, score.metric): score.estimate for score in found.scores}
    for method in dict.fromkeys(score.method for score in found.scores):
        cells = [with_interval(*of[method, metric][:3], ".3f") for metric in found.metrics]
        table.add_row(Text(method), *cells)
    return table


def _differences(found: Standings, gaps: Sequence[Gap]) -> Table:
    metrics = _main(found)
    columns = [column for metric in metrics for column in (_named(metric), "p")]
    table = titled_table(f"minus {found.baseline}", ["", *columns], first="folded")
    of = {(gap.method, gap.metric): gap for gap in gaps}
    for method in dict.fromkeys(gap.method for gap in gaps):
        table.add_row(Text(method), *_gap_cells([of.get((method, m)) for m in metrics]))
    return table


def _personal(found: Standings) -> Table:
    metrics = _main(found)
    columns = [column for metric in metrics for column in (_named(metric), "p")]
    table = titled_table("minus its controls", ["", *columns], first="folded")
    for method in dict.fromkeys(own.method for own in found.personal):
        of = {own.metric: own for own in found.personal if own.method == method}
        others = dict.fromkeys(gap.other for own in of.values() for gap in own.controls)
        for other in others:
            gaps = [
                next((g for g in of[m].controls if g.other == other), None) if m in of else None
                for m in metrics
            ]
            table.add_row(Text(f"{method} minus {other}"), *_gap_cells(gaps))
        gains = [of[m].gain if m in of else None for m in metrics]
        cells = [c for g in gains for c in ("none shown" if g is None else number(g, "+.3f"), "")]
        table.add_row(Text(f"personal gain of {method}"), *cells, style="bold")
    return table


def _costs(costs: Sequence[Cost]) -> Table:
    columns = ["", "prompt tokens", "answer tokens", "seconds", "cut", "errors"]
    table = titled_table("per sample", columns, first="folded")
    for cost in costs:
        table.add_row(
            Text(cost.method),
            number(cost.prompt_tokens, ".0f"),
            number(cost.completion_tokens, ".0f"),
            number(cost.seconds, ".2f"),
            str(cost.cut),
            str(cost.errors),
        )
    return table


def _repeats(found: Standings) -> Table:
    main = [spread for spread in found.repeats if spread.metric == found.metrics[0]]
    runs = max(each.spread.runs for each in main)
    columns = ["", "mean", "deviation of the means", "deviation at a sample", f"pass^{runs}"]
    table = titled_table(f"{_named(found.metrics[0])} over {runs} repeats", columns, first="folded")
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
            cells += ["–", "–"]
        else:
            cells.append(with_interval(*gap.difference[:3], "+.3f"))
            cells.append(number(gap.p_value, ".3f"))
    return cells


def _named(metric: str) -> str:
    return metric if METRICS[metric].higher_is_better else f"{metric} (less is better)"
