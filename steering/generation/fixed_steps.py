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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor
from transformers import Cache

from ..decoder.attention import grouped
from ..decoder.caches import holds_keys_only
from ..decoder.families import first_tensor
from ..decoder.fixed_cache import FixedCache
from ..decoder.forward import window_passed
from ..decoder.hooks import of_this_thread, own_pass
from ..decoder.kernels import without_cudnn_attention
from ..decoder.language_model import LanguageModel
from ..vectors.injection import set_aside
from ..vectors.pushes import Push, Rows, Windows, module_at, pushes_of
from ..vectors.steering_vectors import Point

_log = logging.getLogger(__name__)

_ROWS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64)  # how many rows buffers are made for
_COLUMNS = 256  # buffers grow by so many columns
_WIDTHS = (1, 2, 4, 8)  # tokens a row in one step
_KEPT = 4  # idle buffers, with their graphs, of one model


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
        self._pool: Any = None

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
            if not self._capture or not self._try_to_capture(key, inputs, width):
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
        handles = []
        try:
            for point, push in self._pushes.get(self._steered, {}).items():
                hook = of_this_thread(_adding(push, gain))
                handles.append(module_at(parts, point).register_forward_hook(hook))
            yield
        finally:
            for handle in handles:
                handle.remove()


def _adding(push: Push, gain: Tensor) -> Callable[..., Any]:
    def hook(module: Any, args: Any, output: Any) -> Any:
        hidden = first_tensor(output)
        steered = hidden + push.added(gain, hidden)
        return (steered, *output[1:]) if isinstance(output, tuple) else steered

    return hook


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


def length_for(tokens: int) -> int:
    """The columns of buffers in which so many tokens have room."""
    return -(-tokens // _COLUMNS) * _COLUMNS


_idle: weakref.WeakKeyDictionary[LanguageModel, list[FixedSteps]] = weakref.WeakKeyDictionary()


def borrow(model: LanguageModel, rows: int, tokens: int, *, capture: bool) -> FixedSteps | None:
    """Buffers for so many rows and tokens a row, made or used before; None for too many rows.

    Whoever borrows them gives them back with ``give_back``, or lets them go.
    """
    if rows > _ROWS[-1]:
        return None
    shape = (_bucket(rows, _ROWS), length_for(tokens))
    idle = _idle.setdefault(model, [])
    for steps in idle:
        if (steps.rows, steps.length) == shape:
            idle.remove(steps)
            return steps
    return FixedSteps(model, *shape, capture=capture)


def give_back(model: LanguageModel, steps: FixedSteps) -> None:
    """Keep buffers and their graphs for the next batch of this shape."""
    idle = _idle.setdefault(model, [])
    idle.append(steps)
    del idle[:-_KEPT]


def _bucket(count: int, sizes: Sequence[int]) -> int:
    return next(size for size in sizes if size >= count)


def _copy(source: Push | Windows, target: Push | Windows) -> None:
    for field in fields(source):
        values = getattr(source, field.name)
        if isinstance(values, Tensor):
            getattr(target, field.name).copy_(values)
