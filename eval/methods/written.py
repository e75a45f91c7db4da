"""Texts that a model wrote for later use, kept by a digest of all that they depend on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .kept import KeptValues, digest

if TYPE_CHECKING:
    from ...steering.model import SteeredModel

# Changes whenever the same prompt and options would make another text.
_FORM = 1

_AT_ONCE = 960  # prompts that are tokenized together: many full batches
_KEPT_AT_ONCE = 16  # texts of one write: a kill loses fewer, anything else loses none

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
        times = Counter(key for own in keys for key in own)
        for start in range(0, len(missing), _AT_ONCE):
            some = missing[start : start + _AT_ONCE]
            completions = model.completions(
                [Request(prompt_of[key], draws=key) for key in some],
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                batch_size=batch_size,
            )
            with self._keeping() as keep:
                for place, done in completions:
                    texts[some[place]] = done.text.strip()
                    keep(some[place], texts[some[place]])
                    if progress:
                        progress(times[some[place]])
        return [[texts[key] for key in own] for own in keys]

    @contextmanager
    def _keeping(self) -> Iterator[Callable[[str, str], None]]:
        """What keeps one text after another, a few in each write and the rest when it ends."""
        fresh: dict[str, str] = {}

        def write() -> None:
            self._texts.put(fresh)
            fresh.clear()

        def keep(key: str, text: str) -> None:
            fresh[key] = text
            if len(fresh) >= _KEPT_AT_ONCE:
                write()

        try:
            yield keep
        finally:
            write()
