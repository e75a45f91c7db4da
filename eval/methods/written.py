"""Texts that a model wrote for later use, kept by a digest of all that they depend on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .kept import KeptValues, digest

if TYPE_CHECKING:
    from ...steering.model import SteeredModel

# Changes whenever the same prompt and options would make another text.
_FORM = 1

# Answers generated together before they are kept: wide enough for full batches, few enough that a
# broken-off preparation keeps most of its work.
_AT_ONCE = 192

Progress = Callable[[int], None]


class WrittenTexts:
    """A file of texts. Several processes may use one at once.

    Args:
        path: The file; made when something is first kept.
    """

    def __init__(self, path: Path) -> None:
        self._texts = KeptValues(path, "texts", "text", "the texts that models wrote")

    def answers(
        self,
        model: SteeredModel,
        prompts: Sequence[Sequence[Mapping[str, Any]]],
        *,
        count: int = 1,
        max_new_tokens: int,
        temperature: float = 0.0,
        variant: str = "",
        batch_size: int = 48,
        progress: Progress | None = None,
    ) -> list[list[str]]:
        """What the model, unsteered, answers to each prompt; only what is not kept is generated.

        Args:
            model: The model.
            prompts: Messages.
            count: Answers to each prompt.
            max_new_tokens: At most this many tokens an answer.
            temperature: Of the draws, which depend on nothing but the prompt.
            variant: The key of the model variant that is active.
            batch_size: At most this many answers at once.
            progress: Told how many answers more are there.

        Returns:
            ``count`` texts a prompt, stripped of white space.

        Raises:
            TrimtabError: The file cannot be used.
        """
        from ...steering.generation.requests import Request

        about = [
            _FORM, model.fingerprint, model.precision, variant, max_new_tokens, temperature
        ]  # fmt: skip
        keys = [
            [digest([*about, [dict(m) for m in prompt], n]) for n in range(count)]
            for prompt in prompts
        ]
        prompt_of = {key: prompt for prompt, own in zip(prompts, keys, strict=True) for key in own}
        texts = self._texts.get(list(prompt_of))
        if progress:
            progress(sum(key in texts for own in keys for key in own))
        # By length, so that what is generated together is alike.
        missing = sorted(
            (key for key in prompt_of if key not in texts),
            key=lambda key: sum(len(m["content"]) for m in prompt_of[key]),
        )
        for start in range(0, len(missing), _AT_ONCE):
            some = missing[start : start + _AT_ONCE]
            completions = model.generate(
                [Request(prompt_of[key], draws=key) for key in some],
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                batch_size=batch_size,
            )
            fresh = {key: done.text.strip() for key, done in zip(some, completions, strict=True)}
            self._texts.put(fresh)
            texts.update(fresh)
            if progress:
                progress(sum(key in fresh for own in keys for key in own))
        return [[texts[key] for key in own] for own in keys]
