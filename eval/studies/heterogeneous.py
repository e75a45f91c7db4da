"""Heterogeneous users: sub-populations by what people write about, and how methods do in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from ...envs.texts.keyphrases import is_telling
from ...envs.texts.lamp import LAMP
from ...envs.texts.leaks import words
from ...errors import TrimtabError
from ..figures import new_figure
from ..statistics.intervals import holm
from ..statistics.notes import interval_note, p_note
from ..statistics.totals import metric_difference, metric_estimate
from .finding import Cell, Finding

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...envs.texts.dataset import TextSample
    from .setting import Setting

Embedded = Literal["input", "output", "both"]
_Floats = NDArray[np.float32]

_PICTURED = 3000  # more points tell nothing more, and t-SNE takes long
_TERMS = 4


@dataclass(frozen=True)
class Clusters:
    """All samples in groups.

    Attributes:
        of_sample: The group, from 0, by user id and sample id.
        embeddings: ``(samples, dimensions)``, in the same order.
        terms: What sets each group's words apart.
    """

    of_sample: dict[tuple[str, str], int]
    embeddings: _Floats
    terms: tuple[str, ...]

    @property
    def labels(self) -> NDArray[np.int64]:
        """Each sample's group, ``(samples,)``."""
        return np.fromiter(self.of_sample.values(), dtype=np.int64)


def heterogeneous_study(
    setting: Setting, clusters: int = 4, embedded: Embedded = "input"
) -> tuple[Finding, Figure]:
    """Cluster all users' samples, past and test, and score each test in its own group.

    Args:
        setting: The study; its first method is the baseline.
        clusters: How many groups.
        embedded: What of a sample is embedded: the request, what the user wrote, or both. What a
            test's user wrote decides its group alone; no method sees it.

    Raises:
        TrimtabError: Fewer than two groups, or more than samples.
    """
    groups = cluster_samples(setting, clusters, embedded)
    records = setting.run("all")
    metric = setting.metric
    baseline = setting.plan.baseline
    names = {
        f"{user.id}/{test.id}": groups.of_sample[user.id, test.id]
        for user in setting.dataset.users
        for test in user.tests
    }
    rows: list[tuple[Cell, ...]] = []
    p_values: list[float] = []
    for group, terms in enumerate(groups.terms):
        own = {
            label: [r for r in all_ if names[r.drawn_from] == group]
            for label, all_ in records.items()
        }
        for label, here in own.items():
            estimate = metric_estimate(here, metric)
            gap = metric_difference(here, own[baseline], metric)
            over = label != baseline
            p_values.append(gap.p_value if over else np.nan)
            rows.append(
                (
                    group + 1,
                    terms,
                    estimate.users,
                    estimate.values,
                    label,
                    *estimate[:3],
                    gap.mean if over else None,
                )
            )
    corrected = holm(p_values)
    users = [int(row[2] or 0) for row in rows]
    finding = Finding(
        "heterogeneous",
        f"{metric.name} by sub-population",
        (
            *("group", "words", "users", "tests", "method", metric.name, "low", "high"),
            *(f"minus {baseline}", "p (Holm)"),
        ),
        tuple((*row, p) for row, p in zip(rows, corrected, strict=True)),
        (
            f"k-means of {len(groups.of_sample)} samples' embeddings ({embedded}); "
            f"{interval_note(users)}.",
            f"{p_note(users, f'for {sum(not np.isnan(p) for p in p_values)} comparisons')}.",
        ),
    )
    return finding, _figure(groups, rows, metric.name, setting.plan.seed)


def cluster_samples(setting: Setting, clusters: int, embedded: Embedded) -> Clusters:
    """Group all samples of a setting by k-means of their embeddings.

    Raises:
        TrimtabError: As ``heterogeneous_study``.
    """
    from sklearn.cluster import KMeans

    samples = {
        (user.id, sample.id): sample
        for user in setting.dataset.users
        for sample in (*user.history, *user.tests)
    }
    if not 2 <= clusters <= len(samples):
        raise TrimtabError(f"expected 2 to {len(samples)} groups of samples, got {clusters}")
    task = setting.plan.task
    instruction = LAMP[task].question if task in LAMP else ""
    texts = [_text(sample, embedded, instruction) for sample in samples.values()]
    setting.report("embeddings", 0, len(texts))
    embeddings = setting.model.encoder.encode(texts).numpy()
    setting.report("embeddings", len(texts), len(texts))
    fitted = KMeans(clusters, n_init=4, random_state=setting.plan.seed).fit(embeddings)
    # The largest group first, so that numbers mean the same in every run.
    sizes = Counter(fitted.labels_.tolist())
    order = {group: place for place, (group, _) in enumerate(sizes.most_common())}
    labels = [order[group] for group in fitted.labels_.tolist()]
    return Clusters(
        of_sample=dict(zip(samples, labels, strict=True)),
        embeddings=embeddings,
        terms=_terms(texts, labels, clusters),
    )


def _text(sample: TextSample, embedded: Embedded, instruction: str) -> str:
    asked = sample.input.removeprefix(instruction)
    if embedded == "both":
        return f"{asked}\n{sample.output}"
    return asked if embedded == "input" and asked else sample.output


def _terms(texts: Sequence[str], labels: Sequence[int], clusters: int) -> tuple[str, ...]:
    """For each group the words that the most of its texts have, beyond the share of all texts."""
    sets = [{word for word in words(text) if is_telling(word)} for text in texts]
    everywhere = Counter(word for own in sets for word in own)
    terms = []
    for group in range(clusters):
        own = [each for each, label in zip(sets, labels, strict=True) if label == group]
        here = Counter(word for each in own for word in each)
        beyond = {
            word: count / len(own) - everywhere[word] / len(sets) for word, count in here.items()
        }
        best = sorted(beyond, key=lambda word: (-beyond[word], word))[:_TERMS]
        terms.append(", ".join(best))
    return tuple(terms)


def picture(embeddings: _Floats, seed: int) -> _Floats:
    """t-SNE in two dimensions, ``(samples, 2)`` (van der Maaten and Hinton, 2008)."""
    from sklearn.manifold import TSNE

    # Perplexity must be below the number of samples.
    perplexity = min(30.0, max(2.0, (len(embeddings) - 1) / 3))
    init: Literal["pca", "random"] = "pca" if len(embeddings) > 2 else "random"
    placed: _Floats = TSNE(
        2, perplexity=perplexity, init=init, random_state=seed, metric="cosine"
    ).fit_transform(embeddings)
    return placed


def _figure(clusters: Clusters, rows: Sequence[tuple[Cell, ...]], metric: str, seed: int) -> Figure:
    figure, [cloud, bars] = new_figure(2, width=5.0, height=4.0, share_y=False)
    labels = clusters.labels
    chosen = np.arange(len(labels))
    if len(chosen) > _PICTURED:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, _PICTURED, replace=False))
    placed = picture(clusters.embeddings[chosen], seed)
    for group, terms in enumerate(clusters.terms):
        own = placed[labels[chosen] == group]
        cloud.scatter(own[:, 0], own[:, 1], s=5, alpha=0.6, label=f"{group + 1}: {terms}")
    cloud.set_xticks([])
    cloud.set_yticks([])
    cloud.set_title("samples (t-SNE)", fontsize=10)
    cloud.legend(fontsize=7, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.02))
    _bars(bars, rows, len(clusters.terms))
    bars.set_ylabel(metric)
    return figure


def _bars(panel: Axes, rows: Sequence[tuple[Cell, ...]], groups: int) -> None:
    methods = list(dict.fromkeys(str(row[4]) for row in rows))
    width = 0.8 / len(methods)
    for place, method in enumerate(methods):
        own = [row for row in rows if row[4] == method]
        means, lows, highs = (
            np.array([row[column] for row in own], dtype=float) for column in (5, 6, 7)
        )
        panel.bar(
            np.arange(groups) + (place - (len(methods) - 1) / 2) * width,
            np.nan_to_num(means),
            width,
            yerr=np.nan_to_num([means - lows, highs - means]),
            error_kw={"linewidth": 0.8},
            label=method,
        )
    panel.set_xticks(range(groups), [str(group + 1) for group in range(groups)])
    panel.set_xlabel("group")
    panel.legend(fontsize=7, frameon=False)
