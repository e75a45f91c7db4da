"""What an answer copies from its prompt, proposed before the model says it.

A tool call's arguments mostly repeat words of the request. So where the last words have come before
in the prompt or in the answer, what followed them there is proposed, and checked in the pass that a
step is anyway: of the proposed tokens those are kept that the model would have chosen itself.

Prompt lookup decoding: Saxena (2023), https://github.com/apoorvumang/prompt-lookup-decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

_WORDS = (3, 2, 1)  # last tokens that must have come before; the longest match decides
_AT_FIRST = 2  # tokens proposed at once
_MOST = 8  # tokens proposed at once, after all were kept
_AFTER_ONE = 2  # tokens proposed where only the last token has come before
_WORTH_IT = 0.35  # how often a match must tell the next token: a pass of two costs a third more
_AT_FIRST_RIGHT = 0.5  # how often it is taken to, before any token has come
_NEWS = 0.15  # what a new token counts for in how often matches were right


class PromptLookup:
    """The tokens of a row so far, and where each of their sequences came last.

    Args:
        tokens: The prompt's.
        alike: What two tokens have in common that count as the same word, as `` lamp`` after a
            space and ``lamp`` after a quote.
        least: So many last tokens must have come before.
    """

    def __init__(
        self, tokens: Sequence[int], alike: Callable[[int], object], *, least: int = 1
    ) -> None:
        self._alike = alike
        self._sizes = [size for size in _WORDS if size >= least]
        self._tokens: list[int] = []
        self._words: list[object] = []
        self._next: dict[tuple[object, ...], int] = {}  # where the token after a sequence is
        self._reach = _AT_FIRST
        self._right = dict.fromkeys(self._sizes, _AT_FIRST_RIGHT)
        self._take_in(tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    def extend(self, tokens: Iterable[int]) -> None:
        """Take in tokens that have come, proposed or not, and how often they could be told."""
        for token in tokens:
            size, place = self._match()
            if place is not None:
                told = token == self._tokens[place]
                self._right[size] += _NEWS * (told - self._right[size])
            self._take_in([token])

    def propose(self, most: int) -> list[int]:
        """What may come next: perhaps nothing, at most ``most`` tokens.

        Nothing where such matches were wrong so often of late that checking costs more than it
        saves.
        """
        size, place = self._match()
        if place is None or self._right[size] < _WORTH_IT:
            return []
        count = min(most, self._reach, _AFTER_ONE if size == 1 else _MOST)
        return self._tokens[place : place + count]

    def _match(self) -> tuple[int, int | None]:
        """How many last tokens have come before, and where the token that followed them is."""
        for size in self._sizes:
            place = self._next.get(tuple(self._words[-size:]))
            if place is not None and size <= len(self._words):
                return size, place
        return 0, None

    def _take_in(self, tokens: Iterable[int]) -> None:
        for token in tokens:
            place = len(self._tokens)
            for size in self._sizes:
                if size <= place:
                    self._next[tuple(self._words[place - size :])] = place
            self._tokens.append(token)
            self._words.append(self._alike(token))

    def learn(self, proposed: int, kept: int) -> None:
        """Propose more where all was kept, and less where it was not."""
        if proposed:
            self._reach = min(2 * self._reach, _MOST) if kept == proposed else kept + 1
