"""Decode steps in buffers that never move: a GPU captures one as a graph and replays it.

A step of a large model is hundreds of small kernels, which a processor starts one by one; a graph
starts them all at once. So that any mix of users runs the same graph, all that differs from step to
step and from user to user lies in buffers: tokens, places, the mask, keys and values, vectors, and
the windows that say where a vector is added.

Where a step cannot be captured it runs as it is, in the same buffers, with the same results.
"""

from __future__ import annotations

import logging
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from ..decoder.attention import grouped
from ..decoder.caches import bytes_a_token, holds_keys_only
from ..decoder.fixed_cache import FixedCache
from ..decoder.forward import window_passed
from ..decoder.hooks import of_this_thread, own_pass
from ..decoder.kernels import without_cudnn_attention
from ..decoder.language_model import LanguageModel
from ..decoder.sublayers import Sublayer, by_rows, first_tensor, replaced
from ..vectors.injection import set_aside
from ..vectors.pushes import Push, Rows, Windows, place_of, push_into, pushes_of
from ..vectors.steering_vectors import Point
from .row import Row

_log = logging.getLogger(__name__)

_ROWS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)  # how many rows buffers are made for
_COLUMNS = 256  # the shortest buffers, and the room that an answer gets at first
_WIDTHS = (1, 2, 4, 8)  # tokens a row in one step
_KEPT = 4  # idle buffers, with their graphs, of one model
_MEMORY_SHARE = 0.2  # of a GPU's free memory, for one batch's buffers
_STEPS_BEFORE = 2  # so often a step runs as it is before it is worth capturing


class FixedSteps:
    """The buffers for so many rows and columns, and the graphs captured over them.

    Args:
        model: The model.
        rows: Rows of the buffers.
        length: Columns.
        capture: Whether steps are captured; only a GPU can.

    Attributes:
        rows: As given.
        length: As given.
        filled: How many columns hold something; a step needs room after them.
    """

    def __init__(self, model: LanguageModel, rows: int, length: int, *, capture: bool) -> None:
        self.rows = rows
        self.length = length
        self.filled = 0
        self._model: LanguageModel = weakref.proxy(model)  # which may be kept beside these buffers
        self._capture = capture
        self._used = 0  # rows that hold something
        self._cache = FixedCache(model.hf.config, rows, length)
        self._real = torch.zeros(rows, length, dtype=torch.bool, device=model.device)
        self._windows = Windows.of([None] * rows, [0] * rows, model.device)
        self._pushes: dict[tuple[tuple[Point, ...], bool], dict[Point, Push]] = {}
        self._steered: tuple[tuple[Point, ...], bool] = ((), False)
        self._captured: dict[Any, tuple[torch.cuda.CUDAGraph, Tensor, Tensor]] = {}
        self._ran: Counter[Any] = Counter()
        self._pool: Any = None

    @property
    def captures(self) -> bool:
        """Whether steps are captured: what was asked for, until a capture fails."""
        return self._capture

    def fits(self, width: int) -> bool:
        """Whether a step of so many tokens a row can be taken."""
        return width <= _WIDTHS[-1] and self.filled + _bucket(width, _WIDTHS) <= self.length

    def fill(self, cache: Cache, mask: Tensor) -> None:
        """Take in the rows of a growing cache.

        Args:
            cache: Keys and values of some rows.
            mask: Which of its places hold a token, ``(rows, places)``.
        """
        self._used, self.filled = mask.shape
        self._cache.fill(cache)
        self._real.zero_()
        self._real[: self._used, : self.filled] = mask.bool()

    def pour(self, cache: Cache) -> Tensor:
        """Give the rows back to a growing cache; returns its mask, ``(rows, places)``."""
        self._cache.pour(cache, self._used, self.filled)
        return self._real[: self._used, : self.filled].long()

    def steer(self, rows: Rows, prompt_lengths: Sequence[int]) -> None:
        """What is added from now on: one steering a row, and where its prompt ends."""
        idle = self.rows - len(rows)
        rows = [*rows, *[None] * idle]
        windows = Windows.of(rows, [*prompt_lengths, *[0] * idle], self._model.device)
        _copy(windows, self._windows)
        pushes = pushes_of(self._model.parts, rows)
        bounded = any(push.bounded for push in pushes.values())
        self._steered = (tuple(pushes), bounded)
        if self._steered not in self._pushes:
            device = self._model.device
            self._pushes[self._steered] = {
                point: push.each(lambda each: each.to(device).clone())
                for point, push in pushes.items()
            }
        for point, push in pushes.items():
            _copy(push, self._pushes[self._steered][point])

    def step(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Run some tokens, or none, of each row; logits after the last ones, float32.

        Args:
            rows: Token ids of each row that is held, at most as many as ``fits`` allows.

        Returns:
            Shape ``(rows, vocabulary)``.
        """
        width = _bucket(max(map(len, rows)), _WIDTHS)
        tokens, real = [], []
        for row in [*rows, *[()] * (self.rows - len(rows))]:
            empty = width - len(row)
            tokens += [0] * empty + list(row)
            real += [0] * empty + [1] * len(row)
        given = torch.tensor([self.filled, *tokens, *real])
        self.filled += width
        with (
            torch.inference_mode(),
            own_pass(),
            set_aside(self._model.parts),
            without_cudnn_attention(),
            grouped(self._model.parts.decoder),
        ):
            logits = self._run(given, width)
            return logits[: len(rows)].clone()

    def _run(self, given: Tensor, width: int) -> Tensor:
        key = (width, *self._steered)
        if key not in self._captured:
            inputs = given.to(self._model.device)
            self._ran[key] += 1
            worth = self._capture and self._ran[key] > _STEPS_BEFORE
            if not worth or not self._try_to_capture(key, inputs, width):
                return self._forward(inputs, width)
        graph, inputs, logits = self._captured[key]
        inputs.copy_(given)
        graph.replay()
        return logits

    def _try_to_capture(self, key: Any, inputs: Tensor, width: int) -> bool:
        try:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(2):  # kernels that plan at first must have done so
                    self._forward(inputs, width)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self._pool):
                logits = self._forward(inputs, width)
        except RuntimeError as error:
            self._capture = False
            _log.warning(
                "decode steps of %s run without a captured graph: %s", self._model.name, error
            )
            return False
        self._pool = graph.pool()
        self._captured[key] = (graph, inputs, logits)
        return True

    def _forward(self, inputs: Tensor, width: int) -> Tensor:
        """One pass: ``inputs`` holds the first column, then all rows' tokens, then what is real."""
        columns = inputs[0] + torch.arange(width, device=inputs.device)
        tokens, real = inputs[1:].view(2, self.rows, width).unbind()
        self._cache.columns = columns
        self._real.index_copy_(1, columns, real.bool())
        positions = self._real.cumsum(dim=1).index_select(1, columns) - 1
        places = torch.arange(self.length, device=inputs.device)
        seen = self._real[:, None, None] & (places <= columns[:, None])
        # What has nothing to look at looks at itself: attention over nothing is no number.
        seen = seen | (places == columns[:, None])
        gain = self._windows.gain(positions, real.bool())
        with self._hooks(gain):
            hidden = self._model.parts.decoder(
                input_ids=tokens,
                attention_mask=seen,
                position_ids=positions.clamp(min=0),
                past_key_values=self._cache,
                use_cache=True,
            ).last_hidden_state
        return self._model.logits(hidden[:, -1])

    @contextmanager
    def _hooks(self, gain: Tensor) -> Iterator[None]:
        parts = self._model.parts
        pushes = self._pushes.get(self._steered, {})
        _, bounded = self._steered
        added: list[Tensor] = []
        if pushes and not bounded:  # all places at once, in place of some kernels at each
            vectors = torch.stack([push.vectors for push in pushes.values()])
            added = list((gain[..., None] * vectors[:, :, None]).to(self._model.hf.dtype))
        handles = []
        try:
            for number, (point, push) in enumerate(pushes.items()):
                known = added[number] if added else None
                place = place_of(parts, point)
                handles += place.hook(of_this_thread(_adding(place, push, gain, known)))
            yield
        finally:
            for handle in handles:
                handle.remove()


def _adding(place: Sublayer, push: Push, gain: Tensor, known: Tensor | None) -> Callable[..., Any]:
    """What adds to an output what is ``known``, or else what follows the activations."""

    def act(output: Any, others: Tensor | None) -> Any:
        if known is None:
            return push_into(place, push, gain, output, others)
        return replaced(output, by_rows(first_tensor(output), len(gain)) + known)

    return act


def can_be_fixed(model: LanguageModel, longest: int) -> bool:
    """Whether a model's decode steps can run in fixed buffers of ``longest`` columns.

    Its cache must hold keys and values alone, on one device, with attention by ``sdpa``.
    """
    config = model.hf.config
    return (
        holds_keys_only(config)
        and not window_passed(config, longest)
        and config._attn_implementation == "sdpa"
        and len({parameter.device for parameter in model.hf.parameters()}) == 1
    )


_idle: weakref.WeakKeyDictionary[LanguageModel, list[FixedSteps]] = weakref.WeakKeyDictionary()
_refused: weakref.WeakSet[LanguageModel] = weakref.WeakSet()  # a capture failed


def borrow(model: LanguageModel, rows: Sequence[Row], held: int, width: int) -> FixedSteps | None:
    """Buffers for a batch, made now or used before; None where its steps run as they are.

    Whoever borrows them gives them back with ``give_back``, or lets them go.

    Args:
        model: The model; only on a GPU does it gain anything.
        rows: The rows of the batch.
        held: How many columns its cache holds.
        width: How many tokens a row the next step has.
    """
    if not _gains(model) or model in _refused:
        return None
    if len(rows) > _ROWS[-1] or width > _WIDTHS[-1] or not all(map(_fits_buffers, rows)):
        return None
    left = max(row.longest - len(row.prompt) - len(row.tokens) for row in rows)
    # Steps are made a little wider than they must be, and few answers are as long as they may be.
    length = _bucket(held + min(left, _COLUMNS) + 2 * _WIDTHS[-1], _lengths())
    shape = (_bucket(len(rows), _ROWS), length)
    idle = _idle.setdefault(model, [])
    for steps in idle:
        if (steps.rows, steps.length) == shape:
            idle.remove(steps)
            return steps
    if not can_be_fixed(model, length) or not _has_room(model, *shape):
        return None
    return FixedSteps(model, *shape, capture=model.device.type == "cuda")


def give_back(model: LanguageModel, steps: FixedSteps) -> None:
    """Keep buffers and their graphs for the next batch of this shape."""
    if model.device.type == "cuda" and not steps.captures:
        _refused.add(model)
        _idle.pop(model, None)
        return
    idle = _idle.setdefault(model, [])
    idle.append(steps)
    del idle[:-_KEPT]


def _gains(model: LanguageModel) -> bool:
    """Whether a graph is any quicker than its steps."""
    return model.device.type == "cuda"


def _fits_buffers(row: Row) -> bool:
    """Whether what steers a row is one steering by vectors, or nothing."""
    return len(row.steerings) <= 1 and not any(steering.stages for steering in row.steerings)


def _lengths() -> Iterator[int]:
    """The columns that buffers are made for: 256, 512, 768, 1024, 1536, 2048, 3072, ..."""
    length = _COLUMNS
    while True:
        yield length
        if length >= 2 * _COLUMNS:
            yield length * 3 // 2
        length *= 2


def _has_room(model: LanguageModel, rows: int, length: int) -> bool:
    if model.device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(model.device)
    needed = rows * length * bytes_a_token(model.hf.config, model.hf.dtype)
    return needed <= _MEMORY_SHARE * free


def _bucket(count: int, sizes: Iterable[int]) -> int:
    return next(size for size in sizes if size >= count)


def _copy(source: Push | Windows, target: Push | Windows) -> None:
    for field in fields(source):
        values = getattr(source, field.name)
        if isinstance(values, Tensor):
            getattr(target, field.name).copy_(values)
