"""The steered model as a LangChain chat model, for chains and graphs that are not ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableConfig, ensure_config
from langchain_core.runnables.config import get_config_list, run_in_executor
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict

from ..errors import TrimtabError
from ..tools.spec import ToolSpec
from .batching import BatchedModel, run_together
from .calls import call_grammar
from .messages import Answer, last_request, picked_entries, steering_for, to_message, to_request

if TYPE_CHECKING:
    from ..steering.settings import SteeringSettings

Tool = ToolSpec | BaseTool | type | Callable[..., Any] | dict[str, Any]


class SteeredChatModel(BaseChatModel):
    """A LangChain chat model that is steered by the dictionary of the user at hand.

    The user comes in through the config, ``configurable: {"user_id": ..., "before": ...}``, also
    from the graph or chain around it; ``before`` is optional, a time that only earlier entries
    may be picked for. The last human message is the request that the dictionary is asked about.

    Args:
        model: A ``SteeredModel``.
        dictionaries: By user; a user who has none is not steered. None is no steering at all.
        settings: Which entries are picked and how they are added.
        max_new_tokens: At most this many tokens an answer.
        temperature: Of sampling; 0 is greedy.
        seed: Of sampling.

    Example:
        >>> chat = SteeredChatModel(model, dictionaries={"u1": dictionary})  # doctest: +SKIP
        >>> chat.bind_tools([search], tool_choice="any").invoke(
        ...     "something for rainy days", {"configurable": {"user_id": "u1"}}
        ... ).tool_calls  # doctest: +SKIP
    """

    model: Any
    dictionaries: Mapping[str, Any] | None = None
    settings: Any = None
    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    def __init__(
        self,
        model: Any,
        *,
        dictionaries: Mapping[str, Any] | None = None,
        settings: SteeringSettings | None = None,
        **options: Any,
    ) -> None:
        fields = {"model": model, "dictionaries": dictionaries, "settings": settings}
        super().__init__(**fields, **options)

    @property
    def _llm_type(self) -> str:
        return "trimtab"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {
            "model_name": self.model.name,
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
        }

    def bind_tools(
        self,
        tools: Sequence[Tool],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The same model with tools to call.

        Args:
            tools: ``ToolSpec``s, LangChain tools, OpenAI tool dicts, functions or pydantic models.
            tool_choice: ``any``, ``required`` or a tool's name make the answer a call that fits
                the schema, by constrained decoding; ``auto`` and None leave the model the choice
                between a call and text; ``none`` only shows the tools.
            **kwargs: Bound as well.

        Raises:
            TrimtabError: A tool choice that is none of these.
        """
        dicts = [
            tool.to_openai() if isinstance(tool, ToolSpec) else convert_to_openai_tool(tool)
            for tool in tools
        ]
        choice = _choice(tool_choice, [tool["function"]["name"] for tool in dicts])
        return self.bind(tools=dicts, tool_choice=choice, **kwargs)

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

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Answer many conversations, of many users, as one batch of the model."""
        together = BatchedModel(self.model)
        copy = self.model_copy(update={"model": together})
        configs = get_config_list(config, len(inputs))
        jobs = [
            partial(copy.invoke, one, its_config, **kwargs)
            for one, its_config in zip(inputs, configs, strict=True)
        ]
        answers: list[Any] = [None] * len(jobs)
        for end in run_together(together, jobs, max_live=max(len(jobs), 1)):
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
        *,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: str | bool | dict[str, Any] | None = None,
        user_id: str | None = None,
        before: int | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        if kwargs:
            raise TrimtabError(f"the chat model has no option {', '.join(sorted(kwargs))}")
        steering = steering_for(
            self.model,
            self.dictionaries,
            user_id,
            last_request(messages).text if self.dictionaries is not None else "",
            before=before,
            settings=self.settings,
        )
        choice = _choice(tool_choice, [tool["function"]["name"] for tool in tools])
        answer: Answer = "either" if tools and choice is None else "text"
        grammar = None
        if choice is not None and choice != "none":
            answer = "call"
            grammar = call_grammar(tools, only=None if choice == "any" else [choice])
        request = to_request(messages, tools, steering=steering, grammar=grammar)
        [completion] = self.model.generate(
            [request],
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            seed=self.seed,
        )
        message = to_message(completion, answer, messages=messages, tools=tools)
        if answer != "call" and isinstance(message.content, str):
            message.content = _before_any(message.content, stop or ())
        message.response_metadata["model_name"] = self.model.name
        message.response_metadata["picked"] = picked_entries(steering)
        return ChatResult(generations=[ChatGeneration(message=message)])


def _user(config: RunnableConfig | None) -> dict[str, Any]:
    """What the config, or that of the runnable around, says of the user."""
    configurable = ensure_config(config).get("configurable", {})
    return {name: configurable[name] for name in ("user_id", "before") if name in configurable}


def _choice(wanted: str | bool | dict[str, Any] | None, names: Sequence[str]) -> str | None:
    """A tool choice in any of LangChain's and OpenAI's forms: auto, none, any or a tool's name."""
    if isinstance(wanted, Mapping):
        wanted = cast("str | None", wanted.get("function", wanted).get("name"))
    if wanted is None or wanted is False or wanted == "auto":
        return None
    if wanted is True or wanted in ("any", "required"):
        return "any"
    if wanted == "none" or wanted in names:
        return wanted
    raise TrimtabError(
        f"expected tool_choice auto, any, required, none or one of {', '.join(names)}; "
        f"got {wanted!r}"
    )


def _before_any(text: str, stop: Sequence[str]) -> str:
    """The text up to the first stop word."""
    return text[: min((text.index(word) for word in stop if word and word in text), default=None)]
