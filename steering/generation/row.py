"""One answer under way: its prompt, its options, and what has been decoded of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...errors import TrimtabError
from ..decoder.forward import context_of
from ..decoder.prefixes import MIN_SHARED
from ..vectors.steering import Steering
from .constraints import Constraint, constraints_of
from .prompt_lookup import PromptLookup
from .requests import Completion, Finish, Options, Request, TokenLogprob

if TYPE_CHECKING:
    from ..decoder.language_model import LanguageModel


class PromptTooLong(TrimtabError):
    """Prompt and answer do not fit the model's context."""


class Row:
    """One answer under way.

    Args:
        model: The model.
        index: The place of the request in its list.
        request: What is answered; its own steering is one of ``steerings``.
        options: How the answer is decoded.
        steerings: All that is added for this row.

    Attributes:
        index: As given.
        options: As given.
        steerings: As given.
        prompt: Token ids.
        shareable: So many first tokens of the prompt are the same with and without steering.
        beginning: So many of the prompt's first tokens may be kept on disk: those that hold
            instructions and tools, and nothing that a user said.
        pending: Tokens that no forward pass has seen yet; what follows the last one is unknown.
        tokens: The answer's so far, without the one that ends it.
        logprobs: One a token, where the options ask for them.
        forced: How many of the tokens the grammar forced.
        constraint: Follows the request's grammar; None is free-form.
        finish: None while the answer goes on.
        error: What broke this row alone; it has finished then.
        seconds: Its share of the time of the passes that it was in, where that is measured.
    """

    def __init__(
        self,
        model: LanguageModel,
        index: int,
        request: Request,
        options: Options,
        steerings: Sequence[Steering] = (),
    ) -> None:
        self.index = index
        self.options = options
        self.steerings = tuple(steerings)
        self.prompt = model.prompt_tokens(request.messages, request.tools)
        check_length(model, len(self.prompt), options.max_new_tokens)
        starts = [steering.start(len(self.prompt)) for steering in self.steerings]
        self.shareable = min([len(self.prompt) - 1, *starts])
        self.beginning = model.kept_beginning(request.messages, request.tools, self.prompt)
        self.pending = list(self.prompt)
        self.finish: Finish | None = None
        self.error: TrimtabError | None = None
        self.seconds = 0.0
        self._model = model
        self.tokens: list[int] = []
        self.logprobs: list[TokenLogprob] = []
        self.forced = 0
        self._closed_early = False
        self._text: str | None = None
        self._random = torch.Generator()
        # Not seed + index: the next seed's draws would be this one's, moved by one request.
        digest = hashlib.sha256(f"{options.seed}/{request.draws or index}".encode()).digest()
        self._random.manual_seed(int.from_bytes(digest[:8], "big", signed=True))
        self._uniform: Tensor | None = None
        self._lookup: PromptLookup | None = None
        self.constraint: Constraint | None = None
        if request.grammar is not None:
            self.constraint = constraints_of(model).of(request.grammar)
            self._follow_grammar()

    @property
    def longest(self) -> int:
        """How many tokens the row can hold in the end, prompt and answer."""
        return len(self.prompt) + self.options.max_new_tokens

    @property
    def shares(self) -> bool:
        """Whether the prompt's beginning may come from, and be kept for, other prompts."""
        return self.options.share_prefix and self.shareable >= MIN_SHARED

    @property
    def closing(self) -> bool:
        """Whether so little room is left that the answer should be closed."""
        left = self.options.max_new_tokens - len(self.tokens)
        return self.constraint is not None and left <= self.options.reserve

    def uniform(self) -> Tensor:
        """The number from 0 to 1 that the next draw takes: the same one until it is used."""
        if self._uniform is None:
            self._uniform = torch.rand((), generator=self._random)
        return self._uniform

    @property
    def seen(self) -> int:
        """How many of its tokens, prompt and answer, forward passes have seen."""
        return len(self.prompt) + len(self.tokens) - len(self.pending)

    def proposals(self, most: int) -> list[int]:
        """What the answer may go on with as it stands in the prompt; at most ``most`` tokens.

        None where the row does not look; none that ends the answer, outgrows its room, or does not
        fit its grammar.
        """
        most = min(most, self.options.max_new_tokens - len(self.tokens) - 1)
        if most < 1 or not self.options.lookup or self.finish is not None:
            return []
        if self._lookup is None:
            # In free text a single word has come before too often to tell what follows.
            least = 1 if self.constraint is not None else 2
            self._lookup = PromptLookup(self.prompt, self._model.word_of, least=least)
        self._lookup.extend(self.tokens[len(self._lookup) - len(self.prompt) :])
        found = self._lookup.propose(most)
        ends = [n for n, token in enumerate(found) if token in self._model.ends]
        found = found[: ends[0]] if ends else found
        if found and self.constraint is not None:
            found = found[: self.constraint.fitting(found)]
        return found

    def checked(self, proposed: int, kept: int) -> None:
        """Take note of how many of its proposals were what came."""
        if self._lookup is not None:
            self._lookup.learn(proposed, kept)

    def use_uniform(self) -> None:
        """Go on to the next number."""
        self._uniform = None

    def close(self, token: int, likeliest: int) -> int:
        """Take note that ``token``, which closes what is open, stands where another was likelier.

        Returns:
            The token.
        """
        self._closed_early |= token != likeliest
        return token

    def take(self, token: int, logprob: TokenLogprob | None = None) -> None:
        """Go on by a token that was chosen; what breaks here ends this row alone."""
        if token in self._model.ends:
            self.finish = "length" if self._closed_early else "stop"
            return
        self.tokens.append(token)
        self.pending.append(token)
        if logprob is not None:
            self.logprobs.append(logprob)
        try:
            if self.constraint is not None:
                self.constraint.take(token)
                self._follow_grammar()
        except TrimtabError as error:
            self.fail(error)
        else:
            self._check_end()

    def fail(self, error: TrimtabError) -> None:
        """End the row, and this row alone, by an error."""
        self.error = error
        self.finish = "cancelled"

    def text(self) -> str:
        """The answer so far, up to a stop text."""
        if self._text is not None:
            return self._text
        return self._shown(self.tokens)

    def _shown(self, tokens: Sequence[int]) -> str:
        shown = [token for token in tokens if token not in self._model.hidden_tokens]
        text = self._model.tokenizer.decode(shown, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text

    def completion(self, *, prompt_tokens: int | None = None) -> Completion:
        """What a row that has finished holds.

        Args:
            prompt_tokens: Where it is not the prompt's length.

        Raises:
            TrimtabError: The row broke.
        """
        assert self.finish is not None
        if self.error is not None:
            raise self.error
        return Completion(
            text=self.text(),
            tokens=tuple(self.tokens),
            prompt_tokens=len(self.prompt) if prompt_tokens is None else prompt_tokens,
            forced_tokens=self.forced,
            finish=self.finish,
            seconds=self.seconds,
            logprobs=tuple(self.logprobs) if self.options.logprobs is not None else None,
        )

    def _follow_grammar(self) -> None:
        assert self.constraint is not None
        if self.options.fast_forward:
            forced = self.constraint.take_forced()
            self.tokens += forced
            self.pending += forced
            self.forced += len(forced)
            if self.options.logprobs is not None:
                self.logprobs += [TokenLogprob(token, 0.0) for token in forced]
        if self.constraint.finished:
            self.finish = "length" if self._closed_early else "stop"
        self._check_end()

    def _check_end(self) -> None:
        room = self.options.max_new_tokens
        if len(self.tokens) > room or (len(self.tokens) == room and self.finish is None):
            self._cut(room)
            self.finish = "length"
        text = self.text() if self.options.stop else ""
        found = [text.index(stop) for stop in self.options.stop if stop in text]
        if found:
            # A grammar forces many tokens at once, so that some may lie behind the stop text.
            while any(stop in self._shown(self.tokens[:-1]) for stop in self.options.stop):
                self._cut(len(self.tokens) - 1)
            self._text = text[: min(found)]
            self.finish = "stop"

    def _cut(self, count: int) -> None:
        """Keep so many tokens of an answer that has ended; those after them were all forced."""
        self.forced -= max(len(self.tokens) - count, 0)
        del self.tokens[count:]
        del self.logprobs[count:]


def check_length(model: LanguageModel, prompt: int, room: int) -> None:
    """Refuse a prompt that leaves no room for its answer, counts in tokens.

    Raises:
        PromptTooLong: It does not fit the model's context.
        TrimtabError: It is empty.
    """
    if prompt < 1:
        raise TrimtabError("expected a prompt of at least one token, got an empty one")
    context = context_of(model.hf.config)
    if context is not None and prompt + room > context:
        raise PromptTooLong(
            f"a prompt of {prompt} tokens and an answer of up to {room} do not fit the model's "
            f"context of {context} tokens; shorten the prompt or lower max_new_tokens"
        )
