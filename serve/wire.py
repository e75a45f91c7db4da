"""OpenAI's chat completions as they go over the wire: what is asked, and what is answered.

Fields that other servers know and this one need not are ignored; a field that would change the
answer and cannot be followed is refused, never left out in silence.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_USER = 512
"""Characters in a user's id."""

Text = Annotated[str, Field(max_length=4_000_000)]
UserId = Annotated[str, Field(min_length=1, max_length=MAX_USER)]
ToolName = Annotated[str, Field(min_length=1, max_length=256)]
SampleId = Annotated[str, Field(min_length=1, max_length=256)]


class Incoming(BaseModel):
    """Something that comes in: unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)


class Part(Incoming):
    """A part of a message's content. Only text can be read."""

    type: Annotated[str, Field(max_length=64)] = "text"
    text: Text | None = None
    refusal: Text | None = None


class Function(Incoming):
    """The function that a call names, its arguments as JSON text."""

    name: ToolName
    arguments: Text = "{}"


class MessageToolCall(Incoming):
    """A call that the assistant made earlier."""

    id: Annotated[str, Field(max_length=256)] = ""
    type: Literal["function"] = "function"
    function: Function


class Message(Incoming):
    """A message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | list[Part] | None = None
    name: Annotated[str, Field(max_length=256)] | None = None
    tool_calls: list[MessageToolCall] | None = None
    tool_call_id: Annotated[str, Field(max_length=256)] | None = None

    def plain(self) -> dict[str, Any]:
        """As the plain dict that prompts are made of."""
        plain = self.model_dump(exclude_none=True)
        plain.setdefault("content", "")
        if self.role == "developer":  # a later name of the same role, which few templates know
            plain["role"] = "system"
        return plain


class FunctionSpec(Incoming):
    """A tool's name, what it does, and the JSON Schema of its arguments."""

    name: ToolName
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ChatTool(Incoming):
    """A tool that the model may call."""

    type: Literal["function"] = "function"
    function: FunctionSpec

    def plain(self) -> dict[str, Any]:
        """As the plain dict that prompts are made of."""
        function = self.function.model_dump(exclude_none=True, exclude={"strict"})
        function.setdefault("description", "")
        function.setdefault("parameters", {"type": "object", "properties": {}})
        return {"type": "function", "function": function}


class NamedFunction(Incoming):
    """Names a function."""

    name: ToolName


class NamedTool(Incoming):
    """The choice of one tool."""

    type: Literal["function"] = "function"
    function: NamedFunction


class JsonSchema(Incoming):
    """A named JSON Schema."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, populate_by_name=True)

    name: Annotated[str, Field(max_length=256)] = "answer"
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class ResponseFormat(Incoming):
    """What an answer in words must be."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _described(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("response_format of type json_schema needs json_schema")
        return self

    @property
    def schema_of_answer(self) -> dict[str, Any] | None:
        """The JSON Schema that an answer fits; None leaves the words free."""
        if self.type == "json_object":
            return {"type": "object"}
        if self.type == "json_schema" and self.json_schema is not None:
            return self.json_schema.schema_ or {"type": "object"}
        return None


class StreamOptions(Incoming):
    """How an answer is streamed."""

    include_usage: bool = False


class SteeringWish(Incoming):
    """How this one request is to be steered; what is not given stays as the server has it."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    whose: Literal["own", "off"] = "own"
    strength: Annotated[float, Field(ge=0, le=100)] | None = None
    k: Annotated[int, Field(ge=1, le=1000)] | None = None
    without: Annotated[list[SampleId], Field(max_length=10_000)] = Field(default_factory=list)
    before: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None


class ChatRequest(Incoming):
    """A request of `POST /v1/chat/completions`."""

    model: Annotated[str, Field(max_length=512)]
    messages: Annotated[list[Message], Field(min_length=1, max_length=10_000)]
    tools: Annotated[list[ChatTool], Field(max_length=20_000)] = Field(default_factory=list)
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    stop: Text | Annotated[list[Text], Field(max_length=16)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    n: Annotated[int, Field(ge=1, le=16)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: UserId | None = None
    steering: SteeringWish | None = None

    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    functions: list[Any] | None = None
    modalities: list[str] | None = None

    @model_validator(mode="after")
    def _followed(self) -> ChatRequest:
        refused = {
            "frequency_penalty": self.frequency_penalty,
            "presence_penalty": self.presence_penalty,
            "logit_bias": self.logit_bias,
        }
        for name, value in refused.items():
            if value:
                raise ValueError(f"{name} is not supported here; leave it out")
        if self.functions:
            raise ValueError("functions is not supported here; give them as tools")
        if set(self.modalities or ["text"]) != {"text"}:
            raise ValueError("modalities other than text are not supported here; leave them out")
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs to be true")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts that end an answer."""
        if self.stop is None:
            return ()
        return tuple(w for w in ([self.stop] if isinstance(self.stop, str) else self.stop) if w)

    @property
    def room(self) -> int | None:
        """At most so many new tokens; None where the request does not say."""
        return self.max_completion_tokens or self.max_tokens


# ---- what is answered --------------------------------------------------------------------------


class AnsweredFunction(BaseModel):
    """A function and its arguments as JSON text; in a stream, a piece of them."""

    name: str | None = None
    arguments: str = ""


class AnsweredCall(BaseModel):
    """A tool call of an answer."""

    index: int | None = None
    id: str | None = None
    type: Literal["function"] | None = "function"
    function: AnsweredFunction


class AnsweredMessage(BaseModel):
    """An answer; in a stream, what has come of it since."""

    role: Literal["assistant"] | None = None
    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[AnsweredCall] | None = None


class TopLogprob(BaseModel):
    """A token that might have come, and how likely it was."""

    token: str
    logprob: float
    bytes: list[int] | None = None


class ChatTokenLogprob(TopLogprob):
    """A token that came, how likely it was, and the likeliest at its place."""

    top_logprobs: list[TopLogprob] = []


class Logprobs(BaseModel):
    """How likely each token of an answer was."""

    content: list[ChatTokenLogprob] = []


Finish = Literal["stop", "length", "tool_calls"]


class Choice(BaseModel):
    """One of a request's answers."""

    index: int
    message: AnsweredMessage
    logprobs: Logprobs | None = None
    finish_reason: Finish


class ChunkChoice(BaseModel):
    """A piece of one of a request's answers."""

    index: int
    delta: AnsweredMessage
    logprobs: Logprobs | None = None
    finish_reason: Finish | None = None


class PromptDetails(BaseModel):
    """Of the prompt's tokens."""

    cached_tokens: int = 0


class Usage(BaseModel):
    """How many tokens went in and came out."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class SteeringBlockEntry(BaseModel):
    """A dictionary entry that the request picked."""

    id: str
    key: str
    similarity: float
    weight: float


SteeredBy = Literal["own", "shared", "nothing"]
Reason = Literal["asked off", "switched off", "held out", "nothing kept", "nobody named"]


class SteeringBlock(BaseModel):
    """What was added inside the forward pass for this answer.

    Attributes:
        whose: The user's own vectors or interventions, only those that everybody gets, or nothing.
        reason: Why nothing was added.
        picked: The entries, the nearest first.
        strength: The multiplier, with the user's own factor in it.
        push: At each point the norm of what is added at a token.
        push_size: Of all points together.
        capped: Whether a bound of the settings made it smaller; None where it depends on each
            token's activation.
        trained: How many trained interventions lie under the vectors.
    """

    whose: SteeredBy
    reason: Reason | None = None
    picked: list[SteeringBlockEntry] = []
    strength: float | None = None
    push: dict[str, float] = {}
    push_size: float = 0.0
    capped: bool | None = False
    trained: int = 0


class ChatCompletion(BaseModel):
    """An answer of `POST /v1/chat/completions`."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str | None = None
    choices: list[Choice]
    usage: Usage
    steering: SteeringBlock


class ChatCompletionChunk(BaseModel):
    """A piece of a streamed answer; the first one says how it is steered."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    system_fingerprint: str | None = None
    choices: list[ChunkChoice]
    usage: Usage | None = None
    steering: SteeringBlock | None = None


class ServedModel(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "trimtab"


class ModelList(BaseModel):
    """The models that are served."""

    object: Literal["list"] = "list"
    data: list[ServedModel]


class ErrorBody(BaseModel):
    """What went wrong, in one line."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorAnswer(BaseModel):
    """An error in OpenAI's form."""

    error: ErrorBody
