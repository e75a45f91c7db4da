"""Adding vectors inside the forward pass: the pulse after attention, the re-pulse after the MLP.

Every row of a batch has its own ``Steering`` or none. Forward hooks apply its trained interventions
and then add its vectors; when the context ends they are gone, whatever happened inside it.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import TrimtabError
from ..decoder.families import Parts
from ..decoder.hooks import in_own_pass
from ..decoder.language_model import LanguageModel
from ..decoder.sublayers import Sublayer, by_rows, first_tensor, replaced
from .applying import RowInterventions, interventions_of, stages_of
from .low_rank import ModuleName, Stage
from .positions import asks_for_the_prompt
from .pushes import Push, Rows, Windows, place_of, push_into, pushes_of
from .steering import Steering

# What is steered in this thread, or in this task of asyncio; a copied context takes it along.
_active: ContextVar[tuple[_Plan, ...]] = ContextVar("trimtab_steered", default=())


@contextmanager
def steered(
    model: LanguageModel, rows: Rows, prompt_lengths: Sequence[int] | None = None
) -> Iterator[None]:
    """``injected`` into a model that the vectors were read from; the same arguments.

    Raises:
        TrimtabError: The vectors are another model's, or as ``injected``.
    """
    for row in rows:
        if row is not None and row.fingerprint is not None:
            model.check_fingerprint(row.fingerprint, "the steering")
    with injected(model.parts, rows, prompt_lengths):
        yield


@contextmanager
def injected(
    parts: Parts, rows: Rows, prompt_lengths: Sequence[int] | None = None
) -> Iterator[None]:
    """Steer each row in every forward pass that this thread makes inside the context.

    After a layer, a row's trained interventions come first, stage by stage, then its vectors.

    A forward pass may hold as many rows as given, or a multiple of it (beams, several sampled
    sequences a prompt: each row stands for a run of neighbours). A position is the number of real
    tokens before it in its row, worked out from the 2-D attention mask and the cache, so left
    padding, right padding and cached decoding all count alike.

    A pass of another thread is not steered, but for one that runs in a copy of this context, as
    ``asyncio.to_thread`` makes it. It warns, unless that thread steers its own passes.

    Args:
        parts: The decoder and its layers.
        rows: One steering a row; None is unsteered.
        prompt_lengths: Real tokens in each row's prompt, for all passes inside the context.
            Without it, the first pass of each sequence holds its whole prompt. A sequence ends
            where a pass starts with an empty cache; without a cache, where a pass neither
            continues the tokens of the one before by one token nor repeats them.

    Raises:
        TrimtabError: A layer out of range, a vector of another size, a batch that is not a
            multiple of the rows, or passes without a cache of which it cannot be told where a
            prompt ends.
    """
    plan = _Plan(parts, rows, prompt_lengths)
    changed = [interventions_of(stages, len(parts.layers)) for stages in plan.stages]
    pushes = pushes_of(parts, rows)
    handles = []
    _active.set((*_active.get(), plan))
    try:
        if pushes or changed:
            handles.append(
                parts.decoder.register_forward_pre_hook(_locating(plan), with_kwargs=True)
            )
        for stage, (layers, modules) in enumerate(changed):
            for place, interventions in modules.items():
                module = linear_at(parts, place)
                hook = _changing(plan, stage, interventions, by_input=True)
                handles.append(module.register_forward_hook(hook))
            for layer, interventions in layers.items():
                hook = _changing(plan, stage, interventions)
                handles.append(parts.layers[layer].block.register_forward_hook(hook))
        for point, push in pushes.items():
            at = place_of(parts, point)
            handles += at.hook(_adding(plan, at, push))
        yield
    finally:
        for handle in handles:
            handle.remove()
        # No token is reset: a generator may be closed in another context than it was begun in.
        _active.set(tuple(other for other in _active.get() if other is not plan))


@contextmanager
def set_aside(parts: Parts) -> Iterator[tuple[Rows, ...]]:
    """Keep what this thread steers out of the passes inside the context.

    Yields:
        The rows of each ``injected`` context around, the outermost first.
    """
    around = _active.get()
    theirs = [plan for plan in around if plan.decoder is parts.decoder]
    _active.set(tuple(plan for plan in around if plan not in theirs))
    try:
        yield tuple(plan.rows for plan in theirs)
    finally:
        _active.set(around)


def check_fits(model: LanguageModel, steering: Steering) -> None:
    """Refuse a steering that cannot be added inside a model.

    Raises:
        TrimtabError: It was read from another model, or names a layer or a size that this one does
            not have.
    """
    if steering.fingerprint is not None:
        model.check_fingerprint(steering.fingerprint, "the steering")
    pushes_of(model.parts, [steering])
    hidden = model.hf.config.get_text_config().hidden_size
    sizes = {size for vector in steering.vectors.values.values() for size in vector.shape}
    for stages in stages_of([steering]):
        _, modules = interventions_of(stages, len(model.parts.layers))
        for place in modules:
            linear_at(model.parts, place)
    sizes |= {each.hidden_size for stage in steering.stages for each in stage.layers.values()}
    if sizes - {hidden}:
        raise TrimtabError(
            f"expected vectors of {hidden} numbers, the model's hidden size, got "
            f"{sorted(sizes - {hidden})}; build them with this model"
        )


def steered_contexts() -> tuple[_Plan, ...]:
    """The ``injected`` contexts that this thread is inside of, the outermost first."""
    return _active.get()


def is_steered(parts: Parts) -> bool:
    """Whether this thread steers the passes that it makes now."""
    return any(plan.decoder is parts.decoder for plan in _active.get())


def refuse_steered(parts: Parts, what: str) -> None:
    """Refuse to do what cannot be done inside ``model.steered``.

    Raises:
        TrimtabError: This thread steers its passes.
    """
    if is_steered(parts):
        raise TrimtabError(
            f"{what} cannot be had inside `with model.steered(...)`: expected a model that is not "
            "steered; leave the context first, or give the steering to what takes one a row"
        )


def row_by_row(around: Sequence[Rows], own: Rows) -> list[tuple[Steering, ...]]:
    """All that is added for each row: what contexts around it say, and its own steering.

    Args:
        around: What ``set_aside`` yields. Each entry stands for a run of neighbours, as in
            ``injected``.
        own: Each row's own steering.

    Raises:
        TrimtabError: The rows are not a multiple of a context's.
    """
    every: list[tuple[Steering, ...]] = [() for _ in own]
    for rows in around:
        _check_multiple(len(own), len(rows))
        repeats = len(own) // len(rows)
        every = [
            (*before, row) if (row := rows[n // repeats]) is not None else before
            for n, before in enumerate(every)
        ]
    return [(*b, row) if row is not None else b for b, row in zip(every, own, strict=True)]


@contextmanager
def steered_by_all(
    model: LanguageModel, rows: Sequence[Sequence[Steering]], prompt_lengths: Sequence[int]
) -> Iterator[None]:
    """``steered`` with any number of steerings a row, whose vectors add up."""
    depth = max((len(row) for row in rows), default=0)
    with ExitStack() as stack:
        for n in range(depth):
            layer = [row[n] if n < len(row) else None for row in rows]
            stack.enter_context(steered(model, layer, prompt_lengths))
        yield


def _check_multiple(batch: int, rows: int) -> None:
    if not rows or batch % rows:
        raise TrimtabError(
            f"expected a batch of {rows} rows or a multiple of it, one steering each, got "
            f"{batch} rows"
        )


def _locating(plan: _Plan) -> Any:
    """A pre-hook of the decoder."""

    def hook(*given: Any) -> None:
        # Another thread's pass may come without keyword arguments while PyTorch adds a hook.
        if plan in _active.get():
            plan.locate(*given[1:])
        else:
            plan.warn_of_a_pass_elsewhere()

    return hook


def _adding(plan: _Plan, place: Sublayer, push: Push) -> Any:
    """What adds ``push`` to the output of a sub-layer."""
    spread: dict[tuple[torch.device, int], Push] = {}  # over the rows of a pass, on its device

    def act(output: Any, others: Tensor | None) -> Any:
        if plan not in _active.get():
            return None
        device, repeats = first_tensor(output).device, len(plan.gain) // len(plan.rows)
        if (device, repeats) not in spread:
            spread[device, repeats] = push.each(
                lambda each: each.to(device).repeat_interleave(repeats, dim=0)
            )
        return push_into(place, spread[device, repeats], plan.gain, output, others)

    return act


def linear_at(parts: Parts, place: ModuleName) -> nn.Module:
    """The linear module inside a layer.

    Raises:
        TrimtabError: The layer has no module of that name.
    """
    try:
        return parts.layers[place.layer].block.get_submodule(place.name)
    except AttributeError:
        raise TrimtabError(
            f"the interventions name the module {place.name!r}, which layer {place.layer} of this "
            "model has not; train them for this model"
        ) from None


def _changing(
    plan: _Plan, stage: int, interventions: RowInterventions, *, by_input: bool = False
) -> Any:
    """A hook that applies one stage's interventions to a module's output.

    ``by_input`` works what is added out from the module's input.
    """

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if plan not in _active.get():
            return None
        gain = plan.stage_gains[stage][..., None]
        hidden = by_rows(first_tensor(output), len(gain))
        given = by_rows(args[0], len(gain)) if by_input else hidden
        added = gain.to(hidden.device) * interventions.delta(given)
        return replaced(output, hidden + added.to(hidden.dtype))

    return hook


class _Plan:
    """Which tokens of the forward pass under way are steered, and how much."""

    def __init__(self, parts: Parts, rows: Rows, prompt_lengths: Sequence[int] | None) -> None:
        if prompt_lengths is not None and len(prompt_lengths) != len(rows):
            raise TrimtabError(
                f"expected one prompt length a row, got {len(prompt_lengths)} for {len(rows)} rows"
            )
        self.decoder = parts.decoder
        self.rows = rows
        self._thread = threading.get_ident()
        self._warned = False
        self._given = prompt_lengths is not None
        self._lengths = list(prompt_lengths) if prompt_lengths is not None else None
        # Only these ask where the prompt ends.
        self.stages = stages_of(rows)
        adding = [row if row and row.vectors.values else None for row in rows]
        self._spans: list[Sequence[Steering | Stage | None]] = [adding, *self.stages]
        self._asks = any(
            each and asks_for_the_prompt(each.positions) for span in self._spans for each in span
        )
        self._prompts = _Prompts()
        self._windows: list[Windows] = []  # of the vectors, and of each stage
        # Of the tokens of the pass under way, (batch, tokens) each.
        self.gain: Tensor
        self.stage_gains: list[Tensor]

    def warn_of_a_pass_elsewhere(self) -> None:
        """Warn once of a pass that another thread makes, and that is not steered."""
        if self._warned or in_own_pass():
            return
        if any(plan.decoder is self.decoder for plan in _active.get()):
            return  # that thread steers its own passes
        self._warned = True
        warnings.warn(
            f"a forward pass in thread {threading.current_thread().name!r} is not steered: the "
            "steering was asked for in another thread or task; open `with model.steered(...)` in "
            "the thread that generates, or start it with contextvars.copy_context().run",
            RuntimeWarning,
            stacklevel=2,
        )

    def locate(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before the decoder runs: find the position of each of its tokens."""
        tokens, cache = _given_tokens(args, kwargs), kwargs.get("past_key_values")
        past = cache.get_seq_length() if cache is not None else 0
        positions, real = _token_positions(tokens, past, kwargs)
        batch = positions.shape[0]
        _check_multiple(batch, len(self.rows))
        repeats = batch // len(self.rows)
        if self._lengths is None or (
            self._asks
            and not self._given
            and not past
            and self._prompts.begins(cache, tokens, real)
        ):
            # Beams share their prompt, so the first of each run of neighbours speaks for it.
            lengths = torch.where(real, positions + 1, 0).amax(dim=1)[::repeats]
            self._lengths = lengths.tolist() if self._asks else [0] * len(self.rows)
            self._windows = []
            if not past and cache is None:
                self._prompts.note(tokens, real)
        if not self._windows or not self._windows[0].fit(batch, positions.device):
            every = [Windows.of(each, self._lengths, positions.device) for each in self._spans]
            self._windows = [
                windows.each(lambda each: each.repeat_interleave(repeats, dim=0))
                for windows in every
            ]
        self.gain, *self.stage_gains = (each.gain(positions, real) for each in self._windows)


class _Prompts:
    """Tells where a new sequence begins, by the tokens of passes that have no cache."""

    def __init__(self) -> None:
        self._prompts: list[Tensor] | None = None
        self._last: list[int] = []

    def note(self, tokens: Tensor, real: Tensor) -> None:
        """Take a pass as the one that holds the prompts."""
        self._prompts = [row[mask] for row, mask in zip(tokens, real, strict=True)]
        self._last = [len(row) for row in self._prompts]

    def begins(self, cache: Any, tokens: Tensor, real: Tensor) -> bool:
        """Whether a pass that finds nothing in a cache begins a new sequence.

        Raises:
            TrimtabError: It cannot be told.
        """
        if cache is not None or self._prompts is None or len(self._prompts) != len(tokens):
            return True
        rows = [row[mask] for row, mask in zip(tokens, real, strict=True)]
        if not all(
            len(row) >= len(prompt) and torch.equal(row[: len(prompt)], prompt)
            for row, prompt in zip(rows, self._prompts, strict=True)
        ):
            return True
        grown = [len(row) - last for row, last in zip(rows, self._last, strict=True)]
        if any(more not in (0, 1) for more in grown):
            raise TrimtabError(
                "expected a pass without a cache to continue the one before by one token, or to "
                f"hold another prompt, got one that continues it by {max(grown)}; give steered() "
                "prompt_lengths, or open it anew for each prompt"
            )
        self._last = [len(row) for row in rows]
        return False


def _given_tokens(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Token ids ``(batch, tokens)``, or embeddings ``(batch, tokens, hidden_size)``."""
    tokens = args[0] if args else kwargs.get("input_ids")
    if tokens is None:
        tokens = kwargs["inputs_embeds"]
    assert isinstance(tokens, Tensor)
    return tokens


def _token_positions(tokens: Tensor, past: int, kwargs: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Position of each token in its row, and whether it is a real one; both ``(batch, tokens)``."""
    batch, count = tokens.shape[:2]
    mask = kwargs.get("attention_mask")
    if isinstance(mask, Tensor) and mask.ndim == 2:
        return (mask.long().cumsum(dim=1) - 1)[:, -count:], mask[:, -count:].bool()
    given = kwargs.get("position_ids")
    if isinstance(given, Tensor) and given.ndim == 2:
        positions = given.expand(batch, count)
        return positions, torch.ones_like(positions, dtype=torch.bool)
    positions = torch.arange(past, past + count, device=tokens.device).expand(batch, count)
    return positions, torch.ones_like(positions, dtype=torch.bool)
