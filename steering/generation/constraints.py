"""Constrained decoding: which tokens a grammar lets through, and which it forces.

llguidance follows the grammar and works out the tokens; the masks are applied here.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from ...errors import TrimtabError
from ..prompts.render import tokenize

if TYPE_CHECKING:
    from llguidance import LLMatcher
    from numpy.typing import NDArray
    from transformers import PreTrainedTokenizerBase

    from ..decoder.language_model import LanguageModel

# What closes a JSON value, the more at once the better: inside a string, and elsewhere, where `"`
# and `,` only go on to what is required.
_CLOSING_STRING = ('"}}', '"}', '"]', '"')
_CLOSING = ("}}", "}", "]", '"', ",")


class Constraint:
    """Follows one grammar along one row of tokens; made by ``Constraints.of``."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    @property
    def finished(self) -> bool:
        """Whether the grammar lets nothing more follow."""
        return self._matcher.is_stopped()

    def take(self, token: int) -> None:
        """Go on by a token that the grammar lets through.

        Raises:
            TrimtabError: It does not, or the grammar grew too complex to follow.
        """
        self._checked(self._matcher.consume_token(token))

    def take_forced(self) -> list[int]:
        """Go on by the tokens, perhaps none, that must come next as the grammar leaves no choice.

        They are split as the tokenizer splits text; what could be joined with a token that is
        still open is left to the model.
        """
        forced: list[int] = []
        while tokens := self._matcher.compute_ff_tokens():
            self._checked(self._matcher.consume_tokens(tokens))
            forced += tokens
        return forced

    def fitting(self, tokens: Sequence[int]) -> int:
        """How many of these tokens, from the first on, the grammar would let through."""
        return int(self._matcher.validate_tokens(list(tokens)))

    def fill(self, bits: NDArray[np.int32], row: int) -> None:
        """Write which tokens may come next as bits into a row."""
        from llguidance.numpy import fill_next_token_bitmask

        fill_next_token_bitmask(self._matcher, bits, row)
        self._checked(not self._matcher.is_error())

    def _checked(self, fine: bool) -> None:
        if not fine:
            reason = self._matcher.get_error().splitlines()[0]
            raise TrimtabError(
                f"the grammar cannot be followed any further: {reason}; simplify the tool's "
                "schema, or decode free-form"
            )


class Constraints:
    """What a model needs to follow grammars; costs about a second, so made once a model.

    Args:
        tokenizer: A fast one (of the `tokenizers` library).
        vocabulary: The width of the model's logits, which may differ from the tokenizer's size.
        ends: The tokens that end an answer.

    Raises:
        TrimtabError: The tokenizer is of a kind that cannot be followed.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, vocabulary: int, ends: Sequence[int]
    ) -> None:
        from llguidance.hf import from_tokenizer

        try:
            self._tokenizer = from_tokenizer(
                tokenizer,  # type: ignore[arg-type]
                n_vocab=max(len(tokenizer), vocabulary),
                eos_token=list(ends),
            )
        except ValueError as error:
            raise TrimtabError(
                "constrained decoding needs a fast tokenizer with a byte-level or byte-fallback "
                f"decoder, got {type(tokenizer).__name__}: {str(error).splitlines()[0]}"
            ) from error
        self._width = vocabulary
        self._ends = list(ends)
        self._added = tokenizer.get_added_vocab()
        self._fresh = lru_cache(maxsize=64)(self._compiled)
        self._letter, self._closing, self._closing_string = (
            [ids[0] for text in texts if len(ids := tokenize(tokenizer, text)) == 1]
            for texts in ("a", _CLOSING, _CLOSING_STRING)
        )

    def of(self, grammar: str) -> Constraint:
        """Follow an llguidance grammar (Lark) from its start.

        A literal in a rule of its own line that is exactly the text of one of the tokenizer's
        added tokens, as ``"<tool_call>"``, stands for that token.

        Raises:
            TrimtabError: The grammar is not valid.
        """
        # A copy costs a hundredth of what compiling does.
        return Constraint(self._fresh(grammar).deep_copy())

    def _compiled(self, grammar: str) -> LLMatcher:
        from llguidance import LLMatcher

        matcher = LLMatcher(self._tokenizer, self._with_tokens(grammar), log_level=0)
        if matcher.is_error():
            reason = matcher.get_error().splitlines()[0]
            raise TrimtabError(f"expected a grammar that llguidance accepts: {reason}")
        return matcher

    @property
    def words(self) -> int:
        """How many words of 32 bits hold one bit for every token."""
        return (max(self._tokenizer.vocab_size, self._width) + 31) // 32

    def flags(self, bits: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Which tokens may come next, ``(vocabulary,)``, from their bits ``(words,)``."""
        return np.unpackbits(bits.view(np.uint8), bitorder="little")[: self._width].view(np.bool_)

    def closing(self, allowed: NDArray[np.bool_]) -> int | None:
        """The best token to bring an answer to its end, of those that may come next.

        Args:
            allowed: Which may come next, ``(vocabulary,)``.

        Returns:
            None where there is nothing to close, as in plain text, or nothing that closes it.
        """
        in_string = any(allowed[token] for token in self._letter)
        end = next((token for token in self._ends if allowed[token]), None)
        if end is not None:
            return None if in_string else end
        fitting = self._closing_string if in_string else self._closing
        return next((token for token in fitting if allowed[token]), None)

    def _with_tokens(self, grammar: str) -> str:
        lines = grammar.splitlines()
        for number, line in enumerate(lines):
            if "%json" not in line:
                for text, token in self._added.items():
                    line = line.replace(json.dumps(text, ensure_ascii=False), f"<[{token}]>")
                lines[number] = line
        return "\n".join(lines)


_constraints: WeakKeyDictionary[LanguageModel, Constraints] = WeakKeyDictionary()
_making = threading.Lock()


def constraints_of(model: LanguageModel) -> Constraints:
    """What the model needs to follow grammars, made when first asked for.

    Raises:
        TrimtabError: Its tokenizer cannot be followed.
    """
    with _making:
        if model not in _constraints:
            width = model.hf.get_output_embeddings().weight.shape[0]
            _constraints[model] = Constraints(model.tokenizer, width, model.ends)
        return _constraints[model]
