"""The steered model as a LangChain chat model, for chains and graphs that are not ours."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import LangSmithParams, LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config
from langchain_core.runnables.config import get_config_list, run_in_executor
from pydantic import ConfigDict, Field, SkipValidation

from ...errors import TrimtabError
from ...steering.dictionaries.steer import Steer, SteerBy, steer_or_store, user_name
from ...steering.generation.batching import BatchedModel, run_together
from ..calling.detection import call_format_of
from ..calling.tool_choice import Tool, ToolChoice, as_dict, read_choice
from ..model import ChatSource
from .messages import last_request, new_call_id, picked_entries, to_dict
from .question import Question, question_of
from .streaming import Delta

if TYPE_CHECKING:
    from ...steering.dictionaries.dictionary import SteeringDictionary
    from ...steering.dictionaries.settings import SteeringSettings
    from ...steering.generation.requests import Completion
    from ...steering.vectors.steering import Steering

_OPTIONS = ("max_new_tokens", "temperature", "top_p", "seed")
_MOST_AT_ONCE = 48  # conversations of a batch, and rows of the model's
# What other chat models take and what holds here anyway.
_ASSUMED = ("strict",)


class SteeredChatModel(BaseChatModel):
    """A LangChain chat model that is steered for the user at hand.

    The user comes in through the config, ``configurable: {"user_id": ..., "before": ...}``, also
    from the graph or chain around it; ``before`` is optional, a time that only earlier entries
    may be picked for. The last human message is the request that the dictionary is asked about.
    Threads may share a chat model: its answers take turns, unless they are asked for as a
    ``batch``.

    Args:
        model: A ``SteeredModel``.
        steer: What steers a request of a user, from ``steer_by``; None is nothing.
        store: Short for ``steer=steer_by(store, settings, model=model)``: the users'
            dictionaries, a ``SteeringStore`` or any mapping by user; a user who has none is not
            steered.
        settings: Which entries of the store are picked and how they are added; None is the
            default of ``SteeringSettings``, at the points that a dictionary holds.
        max_new_tokens: At most this many tokens an answer; ``max_tokens`` does as well.
        temperature: Of sampling; 0 is greedy.
        top_p: Of sampling.
        seed: Of sampling.
        stop: Texts that end an answer; tool calls are not cut by them.
        call_format: The form of calls, or its name in the table of formats; None is that which the
            model's template teaches. Another one is taught in the system message.
        streaming: Let ``invoke`` stream too, so that callbacks are told of each token.

    What ends an answer and how it is sampled can also be given to ``bind`` or to a single call.

    Example:
        >>> chat = SteeredChatModel(model, store={"u1": dictionary})  # doctest: +SKIP
        >>> chat.bind_tools([search], tool_choice="any").invoke(
        ...     "something for rainy days", {"configurable": {"user_id": "u1"}}
        ... ).tool_calls  # doctest: +SKIP
    """

    model: SkipValidation[ChatSource]
    steer: SkipValidation[Steer | None] = None
    max_new_tokens: int = Field(default=256, alias="max_tokens")
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    stop: list[str] | None = None
    streaming: bool = False
    call_format: Any = None

    model_config = ConfigDict(
        arbitrary_types_allowed=True,
        extra="forbid",
        populate_by_name=True,
        serialize_by_alias=False,
    )

    def __init__(
        self,
        model: ChatSource,
        *,
        steer: Steer | None = None,
        store: Mapping[str, SteeringDictionary] | None = None,
        settings: SteeringSettings | None = None,
        **options: Any,
    ) -> None:
        own: dict[str, Any] = {
            "model": model,
            "steer": steer_or_store(steer, store, settings, model),
        }
        super().__init__(**own, **options)
        call_format_of(model, self.call_format)  # refuses now a name that nobody knows

    @property
    def model_name(self) -> str:
        """The model's name."""
        return str(self.model.name)

    @property
    def _llm_type(self) -> str:
        return "trimtab"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        options = {name: getattr(self, name) for name in _OPTIONS}
        return {"model_name": self.model_name, "stop": self.stop, **options}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        options = {**self._identifying_params, **kwargs}
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = "trimtab"
        params["ls_model_name"] = str(options.get("model", self.model_name))
        params["ls_max_tokens"] = options.get("max_tokens", options["max_new_tokens"])
        return params

    def bind_tools(
        self,
        tools: Sequence[Tool],
        *,
        tool_choice: ToolChoice = None,
        parallel_tool_calls: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The same model with tools to call.

        Calls fit the tools' schemas, by constrained decoding. Only where the choice is the
        model's own and a schema cannot be enforced are they decoded freely.

        Args:
            tools: ``ToolSpec``s, LangChain tools, OpenAI tool dicts, functions or pydantic models.
            tool_choice: ``any``, ``required`` or a tool's name make the answer a call; ``auto``
                and None leave the model the choice between a call and text; ``none`` only shows
                the tools.
            parallel_tool_calls: Whether an answer may hold several calls. None: where the choice
                is the model's own.
            **kwargs: Bound as well.

        Raises:
            TrimtabError: A tool choice that is none of these.
        """
        dicts = [as_dict(tool) for tool in tools]
        choice = read_choice(tool_choice, [tool["function"]["name"] for tool in dicts])
        if parallel_tool_calls is not None:
            kwargs["parallel_tool_calls"] = parallel_tool_calls
        return self.bind(tools=dicts, tool_choice=choice, **kwargs)

    def get_token_ids(self, text: str) -> list[int]:
        """The token ids of a text."""
        ids: list[int] = self.model.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Tool] | None = None
    ) -> int:
        """How long the prompt is that these messages and tools make, in tokens."""
        request = question_of(
            self.model,
            [to_dict(message) for message in messages],
            [as_dict(tool) for tool in tools or ()],
            tool_choice="none",
            call_format=self.call_format,
        ).request
        return len(self.model.prompt_tokens(request.messages, request.tools))

    def invoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Answer one conversation."""
        return super().invoke(input, config, stop=stop, **_user(config), **kwargs)

    async def ainvoke(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AIMessage:
        """Answer one conversation, in a thread."""
        return await super().ainvoke(input, config, stop=stop, **_user(config), **kwargs)

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[AIMessageChunk]:
        """Answer one conversation, piece by piece."""
        return super().stream(input, config, stop=stop, **_user(config), **kwargs)

    def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[AIMessageChunk]:
        """Answer one conversation piece by piece, in threads."""
        return super().astream(input, config, stop=stop, **_user(config), **kwargs)

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Answer many conversations, of many users, in common batches of the model.

        At most 48 are under way at once, or as many as the config's ``max_concurrency``.
        """
        together = BatchedModel(self.model)
        steer = self.steer
        if isinstance(steer, SteerBy):
            steer = steer.embedding_with(together)
        copy = self.model_copy(update={"model": together, "steer": steer})
        configs = get_config_list(config, len(inputs))
        jobs = [
            partial(copy.invoke, one, its_config, **kwargs)
            for one, its_config in zip(inputs, configs, strict=True)
        ]
        answers: list[Any] = [None] * len(jobs)
        # Each conversation under way has a thread of its own.
        most = min([_MOST_AT_ONCE, *(c.get("max_concurrency") or _MOST_AT_ONCE for c in configs)])
        for end in run_together(together, jobs, max_live=most):
            if end.error is not None and not return_exceptions:
                raise end.error
            answers[end.index] = end.value if end.error is None else end.error
        return answers

    async def abatch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """As ``batch``, in a thread."""
        run = partial(self.batch, inputs, config, return_exceptions=return_exceptions, **kwargs)
        return await run_in_executor(None, run)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        question, options = self._question(messages, stop, **kwargs)
        [completion] = self.model.generate([question.request], **options)
        return ChatResult(generations=[ChatGeneration(message=self._message(question, completion))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        question, options = self._question(messages, stop, **kwargs)
        ids: dict[int, str] = {}
        pieces = self.model.stream(question.request, **options)
        reader = question.reader()
        while True:
            try:
                deltas = reader.feed(next(pieces))
            except StopIteration as end:
                completion = end.value
                break
            for delta in deltas:
                yield _reported(_chunk(delta, ids), run_manager)
        whole = self._message(question, completion)
        for delta in reader.finish(whole):
            yield _reported(_chunk(delta, ids), run_manager)
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                content="",
                usage_metadata=whole.usage_metadata,
                response_metadata=whole.response_metadata,
                chunk_position="last",
            )
        )

    def _question(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None,
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: ToolChoice = None,
        parallel_tool_calls: bool | None = None,
        user_id: str | int | None = None,
        before: int | None = None,
        **kwargs: Any,
    ) -> tuple[Question, dict[str, Any]]:
        options = {name: getattr(self, name) for name in _OPTIONS}
        if "max_tokens" in kwargs:
            options["max_new_tokens"] = kwargs.pop("max_tokens")
        options |= {name: kwargs.pop(name) for name in _OPTIONS if name in kwargs}
        unknown = sorted(set(kwargs) - set(_ASSUMED))
        if unknown:
            raise TrimtabError(
                f"the chat model has no option {', '.join(unknown)}; expected tools, tool_choice, "
                f"parallel_tool_calls, stop, {', '.join(_OPTIONS)}"
            )
        steering = self._steering(messages, user_id, before)
        question = question_of(
            self.model,
            [to_dict(message) for message in messages],
            tools,
            tool_choice=tool_choice,
            parallel_tool_calls=parallel_tool_calls,
            stop=(self.stop if stop is None else stop) or (),
            steering=steering,
            call_format=self.call_format,
        )
        if question.answer == "text":
            options["stop"] = question.stop
        return question, options

    def _steering(
        self, messages: list[BaseMessage], user_id: str | int | None, before: int | None
    ) -> Steering | None:
        if self.steer is None:
            return None
        if user_id is None:
            raise TrimtabError(
                "steering needs to know the user; pass config={'configurable': {'user_id': ...}}"
            )
        steering: Steering | None = self.steer(
            user_name(user_id), last_request(messages).text, before
        )
        return steering

    def _message(self, question: Question, completion: Completion) -> AIMessage:
        message = question.message(completion)
        message.response_metadata["model_name"] = self.model_name
        message.response_metadata["constrained"] = question.request.grammar is not None
        message.response_metadata["picked"] = picked_entries(question.request.steering)
        return message


def _user(config: RunnableConfig | None) -> dict[str, Any]:
    """What the config, or that of the runnable around, says of the user."""
    configurable = ensure_config(config).get("configurable", {})
    return {name: configurable[name] for name in ("user_id", "before") if name in configurable}


def _chunk(delta: Delta, ids: dict[int, str]) -> AIMessageChunk:
    if delta.call is None:
        return AIMessageChunk(content=delta.text)
    named = delta.name is not None
    part = tool_call_chunk(
        name=delta.name,
        args=delta.arguments,
        id=ids.setdefault(delta.call, new_call_id()) if named else None,
        index=delta.call,
    )
    return AIMessageChunk(content="", tool_call_chunks=[part])


def _reported(
    message: AIMessageChunk, run_manager: CallbackManagerForLLMRun | None
) -> ChatGenerationChunk:
    """The chunk, once the callbacks know of it."""
    chunk = ChatGenerationChunk(message=message)
    if run_manager is not None:
        run_manager.on_llm_new_token(message.text, chunk=chunk)
    return chunk
