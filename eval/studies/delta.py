"""What personal context does inside the model: how the last token's activation moves with it.

PerFit rests on this: the differences lie in few directions, most of each is common to all users,
and what is left tells users apart. The same is measured here for any model and data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...errors import TrimtabError
from ...files import home
from ..figures import new_figure
from ..texts.users import TextUsers
from .finding import Cell, Finding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ...steering.reading.teacher_forcing import TokenizedExchange
    from ..texts.prompt import Fitted
    from .setting import Setting

_Floats = NDArray[np.float64]

DEPTHS = (0.25, 0.5, 0.72, 1.0)
SHARES = (0.8, 0.9, 0.95)
_SHOWN = 3  # past samples in the personal context
_PICTURED_USERS = 10
_DIMENSIONS = 12
_TEXTS = 2


@dataclass(frozen=True)
class Deltas:
    """Differences of the last prompt token's activation, with personal context minus without.

    Attributes:
        layers: Where they were read (``block``).
        users: Whose prompt each is, ``(samples,)``.
        vectors: ``(samples, layers, hidden_size)``.
    """

    layers: tuple[int, ...]
    users: tuple[str, ...]
    vectors: _Floats

    def at(self, layer: int) -> _Floats:
        """Those of one layer, ``(samples, hidden_size)``."""
        return self.vectors[:, self.layers.index(layer)]


def delta_study(
    setting: Setting, depths: Sequence[float] = DEPTHS, shown: int = _SHOWN
) -> tuple[list[Finding], Figure]:
    """Measure the differences, and draw those at the last of the layers.

    Args:
        setting: The study; its methods play no part.
        depths: Where to read, relative, 0 to 1.
        shown: How many of the user's most relevant past samples the personal context holds.

    Returns:
        A table by layer, and one of users who are near or far from each other at the last layer.

    Raises:
        TrimtabError: Nothing to read, or fewer than two users.
    """
    if not depths or shown < 1:
        raise TrimtabError("expected at least one depth and one past sample to show")
    if len(setting.dataset.users) < 2:
        raise TrimtabError("this study compares users; take at least 2")
    layers = sorted({setting.model.layer_at(depth) for depth in depths})
    deltas = read_deltas(setting, layers, shown)
    rows = [_row(deltas, layer, setting.model.layer_count) for layer in deltas.layers]
    finding = Finding(
        "delta",
        "the last token's activation, with personal context minus without",
        (
            "layer",
            "depth",
            *(f"rank for {share:.0%}" for share in SHARES),
            "common part",
            "same user",
            "other user",
        ),
        tuple(rows),
        (
            f"{len(deltas.users)} prompts of {len(set(deltas.users))} users, {shown} past samples "
            "in context. Rank: how many principal components hold that share of the variance, "
            f"{len(deltas.users) - 1} at most. Common part: squared norm of the mean difference "
            "over the mean squared norm. Same and other user: mean cosine of two differences once "
            "the mean is taken off.",
        ),
    )
    last = deltas.layers[-1]
    return [finding, _neighbours(setting, deltas, last)], _figure(deltas, last)


def read_deltas(setting: Setting, layers: Sequence[int], shown: int) -> Deltas:
    """Read both prompts of every test sample.

    Args:
        setting: Whose data and model.
        layers: Counted from 0.
        shown: Past samples in the personal context, the most relevant by the encoder.
    """
    from ...steering.reading.capture import mean_activations
    from ...steering.vectors.steering_vectors import points_of

    plan = setting.plan
    prepared = TextUsers(
        setting.model,
        plan.running_task(),
        setting.dataset.users,
        folder=home() / "eval",
        seed=plan.seed,
        context=plan.context,
        progress=setting.progress,
    )
    users: list[str] = []
    exchanges: list[TokenizedExchange] = []
    for sample in prepared.samples():
        users.append(sample.user_id)
        near = prepared.nearest(sample, "encoder", shown)
        for past in ((), near):
            exchanges.append(_last_token(prepared, prepared.prompt.fit(sample.request, shown=past)))
    points = points_of(layers, ["block"])
    with prepared.telling("activations", len(exchanges)) as done:
        read = mean_activations(setting.model.parts, exchanges, points, progress=done)
    activations = read.double().numpy()
    return Deltas(tuple(layers), tuple(users), activations[1::2] - activations[0::2])


def _last_token(prepared: TextUsers, prompt: Fitted) -> TokenizedExchange:
    """The prompt with its last token as the answer, so that the answer's mean is that token's."""
    from ...steering.reading.teacher_forcing import TokenizedExchange

    tokens = prepared.model.prompt_tokens(prompt.messages)
    return TokenizedExchange(tokens[:-1], tokens[-1:])


def ranks(vectors: _Floats, shares: Sequence[float] = SHARES) -> list[int]:
    """How many principal components hold each share of the variance.

    Args:
        vectors: ``(samples, dimensions)``.
        shares: From 0 to 1.
    """
    variances = np.linalg.svd(vectors - vectors.mean(axis=0), compute_uv=False) ** 2
    if not variances.sum():
        return [0] * len(shares)
    held = np.cumsum(variances) / variances.sum()
    # A share that is held to the last digit is held.
    return [int(np.searchsorted(held, share - 1e-12)) + 1 for share in shares]


def common_part(vectors: _Floats) -> float:
    """Squared norm of the mean vector over the mean squared norm: 1 if all are equal."""
    squared = float((vectors**2).sum(axis=1).mean())
    return float((vectors.mean(axis=0) ** 2).sum()) / squared if squared else float("nan")


def cosines(vectors: _Floats, users: Sequence[str]) -> tuple[float, float]:
    """Mean cosine of two vectors of one user, and of two users, once the mean is taken off."""
    residual = vectors - vectors.mean(axis=0)
    norms = np.linalg.norm(residual, axis=1, keepdims=True)
    unit = residual / np.where(norms > 0, norms, 1)
    cosine = unit @ unit.T
    names = np.asarray(users)
    same = names[:, None] == names[None, :]
    own = same & ~np.eye(len(names), dtype=bool)
    return _mean(cosine[own]), _mean(cosine[~same])


def _mean(values: _Floats) -> float:
    return float(values.mean()) if values.size else float("nan")


def _row(deltas: Deltas, layer: int, count: int) -> tuple[Cell, ...]:
    vectors = deltas.at(layer)
    return (
        layer,
        layer / count,
        *ranks(vectors),
        common_part(vectors),
        *cosines(vectors, deltas.users),
    )


def user_means(deltas: Deltas, layer: int) -> tuple[list[str], _Floats]:
    """Users, and the mean of each one's differences without the mean of all users' means."""
    names = list(dict.fromkeys(deltas.users))
    owner = np.asarray(deltas.users)
    means = np.array([deltas.at(layer)[owner == name].mean(axis=0) for name in names])
    return names, means - means.mean(axis=0)


def _neighbours(setting: Setting, deltas: Deltas, layer: int) -> Finding:
    """The pairs of users who are nearest to and farthest from each other, with their texts."""
    names, means = user_means(deltas, layer)
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    unit = means / np.where(norms > 0, norms, 1)
    cosine = unit @ unit.T
    one, other = np.triu_indices(len(names), k=1)
    order = np.argsort(-cosine[one, other], kind="stable")
    texts = {
        user.id: " | ".join(" ".join(s.output.split())[:80] for s in user.history[-_TEXTS:])
        for user in setting.dataset.users
    }
    few = max(1, min(3, len(order) // 2))
    rows: list[tuple[Cell, ...]] = []
    for what, places in (("nearest", order[:few]), ("farthest", order[::-1][:few])):
        for place in places:
            left, right = names[one[place]], names[other[place]]
            value = float(cosine[one[place], other[place]])
            rows.append((what, value, left, texts[left], right, texts[right]))
    return Finding(
        "delta-users",
        f"users by their mean difference at layer {layer}, all users' mean taken off",
        ("", "cosine", "user", "last texts", "other user", "their last texts"),
        tuple(rows),
    )


def _figure(deltas: Deltas, layer: int) -> Figure:
    figure, [held, plane, dimensions] = new_figure(3, width=4.0, height=3.6, share_y=False)
    for each in deltas.layers:
        centred = deltas.at(each) - deltas.at(each).mean(axis=0)
        variances = np.linalg.svd(centred, compute_uv=False) ** 2
        total = variances.sum() or 1.0
        held.plot(range(1, len(variances) + 1), np.cumsum(variances) / total, label=f"layer {each}")
    for share in SHARES:
        held.axhline(share, linestyle=":", linewidth=0.8, color="grey")
    held.set_xscale("log")
    held.set_xlabel("principal components")
    held.set_ylabel("share of variance")
    held.legend(fontsize=7, frameon=False)
    vectors = deltas.at(layer)
    centred = vectors - vectors.mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    placed = centred @ axes.T
    owner = np.asarray(deltas.users)
    for number, name in enumerate(dict.fromkeys(deltas.users)):
        own = placed[owner == name]
        first = number < _PICTURED_USERS
        plane.scatter(
            own[:, 0],
            own[:, 1] if own.shape[1] > 1 else np.zeros(len(own)),
            s=14 if first else 5,
            color=None if first else "lightgrey",
            zorder=2 if first else 1,
        )
    plane.set_xlabel("first component")
    plane.set_ylabel("second component")
    plane.set_title(f"layer {layer}; a colour a user", fontsize=10)
    order = np.argsort(-np.abs(vectors.mean(axis=0)) / (vectors.std(axis=0) + 1e-12))[:_DIMENSIONS]
    dimensions.violinplot([vectors[:, place] for place in order], showmedians=True)
    dimensions.axhline(0, linestyle="--", linewidth=0.8, color="grey")
    dimensions.set_xticks(range(1, len(order) + 1), [str(place) for place in order], rotation=90)
    dimensions.tick_params(labelsize=8)
    dimensions.set_xlabel("dimension")
    dimensions.set_title("the most common dimensions", fontsize=10)
    return figure
