"""What steering does to texts as texts: whether they repeat themselves, read naturally, and end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from ...errors import TrimtabError
from ...steering.reading.likelihood import answer_log_likelihoods
from ...steering.reading.teacher_forcing import TokenizedExchange
from ..figures import new_figure
from ..methods.registry import Named
from ..metrics import METRICS, Metric, repetition
from ..statistics.notes import interval_note
from ..statistics.totals import metric_difference, metric_estimate
from .finding import Cell, Finding
from .setting import steered, unpersonalized

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..runs.record import Record
    from ..statistics.intervals import Estimate
    from .setting import Setting

STRENGTHS = (1.0, 2.0, 4.0, 8.0)

PEOPLE = "the users' own texts"

_FLUENCY = Metric("fluency", True, about="nats a token of the text, by the model as it is")
_ENDED = Metric("ended", True, bounds=(0, 1), about="whether the text ended before its limit")
_SHOWN = (METRICS["repetition"], _FLUENCY, _ENDED)


def quality_study(
    setting: Setting, strengths: Sequence[float] = STRENGTHS
) -> tuple[Finding, Figure]:
    """Answer at every strength, all else as in the study's first steered method.

    Other methods of the study stand beside it as they are. Each text is read by the model as it
    is, under the prompt that knows nothing of the user: what a method made of the model does not
    judge its own texts. So are the users' own texts, which tell what people's language is worth
    by the same measures.

    Args:
        setting: The study, with zero-shot and a method that steers; it has to write.
        strengths: Multipliers.

    Raises:
        TrimtabError: Nothing to try, nothing is written, or the study has no such methods.
    """
    if not strengths:
        raise TrimtabError("expected at least one strength")
    if not setting.plan.generate:
        raise TrimtabError("this study reads what is written; leave out --no-generate")
    baseline = unpersonalized(setting.plan)
    base = steered(setting.plan)[0]
    at = {
        strength: Named(
            f"{base.label} at strength {strength:g}",
            replace(base.method, strength=strength),  # type: ignore[type-var]
        )
        for strength in sorted(set(strengths))
    }
    others = [named for named in setting.plan.methods if named not in (baseline, base)]
    records = setting.run("strengths", methods=[baseline, *others, *at.values()])
    plain = records[baseline.label]
    prompts = {record.sample_id: record.prompt for record in plain if not record.error}
    people = [replace(r, output=r.gold, scores={}, detail={}) for r in plain if r.gold.strip()]
    read = _with_quality(setting, prompts, {PEOPLE: people, **records})
    likely = METRICS["log-likelihood"]
    rows: list[tuple[Cell, ...]] = []
    for label, own in read.items():
        for metric in (setting.metric, likely, *_SHOWN):
            estimate = metric_estimate(own, metric)
            if not estimate.values:
                continue  # people's texts are no answers
            alone = label in (PEOPLE, baseline.label)
            gap = None if alone else metric_difference(own, read[baseline.label], metric)
            rows.append((label, metric.name, *estimate[:3], *(gap[:3] if gap else [None] * 3)))
    users = len({record.user_id for record in plain})
    finding = Finding(
        "quality",
        f"what {base.label} makes of texts, by its strength",
        ("", "measure", "mean", "low", "high", f"minus {baseline.label}", "low ", "high "),
        tuple(rows),
        (
            f"{len(plain)} tests of {users} users; {interval_note([users])}.",
            *(f"{metric.name}: {metric.about}." for metric in _SHOWN),
        ),
    )
    return finding, _figure(read, at, baseline, likely)


def _with_quality(
    setting: Setting,
    prompts: Mapping[str, Sequence[Mapping[str, str]]],
    records: Mapping[str, Sequence[Record]],
) -> dict[str, list[Record]]:
    """The records with the scores of their texts as texts; an empty text is not fluent or not."""
    fluency = _fluencies(setting, prompts, [one for own in records.values() for one in own])
    scored: dict[str, list[Record]] = {label: [] for label in records}
    for label, own in records.items():
        for record in own:
            finish = record.detail.get("finish")
            scores = {
                "repetition": repetition(record.output),
                "fluency": fluency.get((record.sample_id, record.output.strip())),
                "ended": None if finish is None else float(finish != "length"),
            }
            scored[label].append(replace(record, scores={**record.scores, **scores}))
    return scored


def _fluencies(
    setting: Setting,
    prompts: Mapping[str, Sequence[Mapping[str, str]]],
    records: Sequence[Record],
) -> dict[tuple[str, str], float]:
    """Nats a token of each text by sample, all read together: each prompt runs once."""
    texts = dict.fromkeys(
        (record.sample_id, text)
        for record in records
        if not record.error and record.sample_id in prompts and (text := record.output.strip())
    )
    exchanges = [
        TokenizedExchange(
            setting.model.prompt_tokens([dict(m) for m in prompts[sample]]),
            setting.model.tokens_of(text),
        )
        for sample, text in texts
    ]
    if not exchanges:
        return {}
    done = 0

    def told(count: int) -> None:
        nonlocal done
        done += count
        setting.report("reading what was written", done, len(exchanges))

    told(0)
    nats = answer_log_likelihoods(setting.model, exchanges, progress=told).tolist()
    return {
        key: value / len(exchange.answer)
        for key, exchange, value in zip(texts, exchanges, nats, strict=True)
    }


def _figure(
    read: Mapping[str, list[Record]],
    at: Mapping[float, Named],
    baseline: Named,
    likely: Metric,
) -> Figure:
    """Each measure by strength, from the unsteered model at 0; dashed, the users' own texts."""
    shown = [likely, *_SHOWN[:2]]
    figure, panels = new_figure(len(shown), width=3.2, height=3.2, share_y=False)
    strengths = [0.0, *at]
    for panel, metric in zip(panels, shown, strict=True):
        labels = [baseline.label, *(named.label for named in at.values())]
        own: list[Estimate] = [metric_estimate(read[label], metric) for label in labels]
        panel.plot(strengths, [each.mean for each in own], marker="o", markersize=3)
        panel.fill_between(
            strengths, [each.low for each in own], [each.high for each in own], alpha=0.1
        )
        level = metric_estimate(read[PEOPLE], metric).mean
        if not math.isnan(level):
            panel.axhline(level, linestyle="--", linewidth=0.8, color="grey", label=PEOPLE)
            panel.legend(fontsize=8, frameon=False)
        panel.set_xlabel("strength")
        panel.set_ylabel(f"{metric.name} of the gold" if metric is likely else metric.name)
    return figure
