"""`POST /v1/chat/completions`: plain and streamed."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from anyio import to_thread
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from sse_starlette import EventSourceResponse

from ..agent.chat.question import Question, question_of
from ..steering.generation.requests import Completion, Options
from ..steering.generation.row import check_length
from ..steering.prompts.conversation import content_text
from .answers import chunks_of_delta, finish_of, logprobs_of, message_of, usage_of
from .callers import CallerOf
from .engine import Piece
from .failures import ApiError, response_of
from .outcomes import Came
from .recent import Answered
from .service import Service, service_of
from .ticket import Ticket
from .whose import SteeringDecision
from .wire import (
    AnsweredMessage,
    ChatCompletion,
    ChatCompletionChunk,
    ChatRequest,
    Choice,
    ChunkChoice,
    ErrorAnswer,
    Message,
    NamedTool,
)

router = APIRouter(tags=["chat"])

# How long a request waits for the entries of what its user did just before.
_PATIENCE_SECONDS = 30.0

_MANY_TOOLS = 32

_CLIENT_GONE = 499  # as nginx counts it; nobody reads it

# How long a stream may go on when the server is ended; less than the server's own 30 seconds.
_DRAIN_SECONDS = 28.0


@dataclass
class Answering:
    """A request under way.

    Attributes:
        body: What was asked.
        id: Of the answer.
        questions: One for each of its answers.
        options: How they are decoded.
        steered: What is added.
        tickets: The engine's, one a question.
        asked: When it came, in milliseconds since 1970.
        began: When it came, by the monotonic clock.
    """

    body: ChatRequest
    id: str
    questions: Sequence[Question]
    options: Options
    steered: SteeringDecision
    tickets: list[Ticket] = field(default_factory=list)
    asked: int = field(default_factory=lambda: time.time_ns() // 1_000_000)
    began: float = field(default_factory=time.monotonic)

    @property
    def created(self) -> int:
        """When it came, in seconds since 1970."""
        return self.asked // 1000

    def cancel(self) -> None:
        """Give all rows back."""
        for ticket in self.tickets:
            ticket.cancel()


@router.post(
    "/v1/chat/completions",
    response_model=ChatCompletion,
    responses={status: {"model": ErrorAnswer} for status in (400, 401, 403, 404, 413, 429, 503)},
)
async def chat_completions(
    body: ChatRequest,
    request: Request,
    caller: CallerOf,
    service: Annotated[Service, Depends(service_of)],
) -> Response:
    """Answer a conversation, steered by the dictionary of the user that it names."""
    caller.check("chat", body.user)
    if body.user is not None:
        await service.learner.settled(body.user, _PATIENCE_SECONDS)
    answering = await to_thread.run_sync(_prepared, service, body)
    try:
        await to_thread.run_sync(_submit, service, answering)
        if body.stream:
            return await _streamed(service, answering)
        work = asyncio.ensure_future(_whole(service, answering))
        answer = await _unless_gone(request, work)
    except BaseException:
        answering.cancel()
        raise
    answering.cancel()  # what has ended stays as it is
    return answer


def _prepared(service: Service, body: ChatRequest) -> Answering:
    """What is asked of the model; reads the store and compiles grammars, so in a thread."""
    if body.model != service.name:
        raise ApiError(
            404,
            f"expected the model {service.name!r}, got {body.model!r}; GET /v1/models lists it",
            code="model_not_found",
            param="model",
        )
    limits = service.limits
    room = body.room or limits.new_tokens
    if room > limits.most_new_tokens:
        raise ApiError(
            400,
            f"expected at most {limits.most_new_tokens} new tokens, got {room}; ask for fewer",
            code="invalid_value",
            param="max_completion_tokens",
        )
    steered = service.whose.steered(body.user, query_of(body.messages), body.steering)
    temperature = limits.temperature if body.temperature is None else body.temperature
    seed = secrets.randbits(62) if body.seed is None else body.seed
    choice = body.tool_choice
    if not body.tools and choice not in (None, "auto", "none"):
        raise ApiError(
            400,
            "tool_choice asks for a call, and there are no tools; give tools, or leave it out",
            code="invalid_value",
            param="tool_choice",
        )
    chosen = choice.model_dump() if isinstance(choice, NamedTool) else choice
    form = body.response_format
    messages = [message.plain() for message in body.messages]
    tools = [tool.plain() for tool in body.tools]
    if len(tools) > _MANY_TOOLS:  # before a grammar is made of them, which takes much longer
        check_length(service.model, len(service.model.prompt_tokens(messages, tools)), room)
    questions = [
        question_of(
            service.model,
            messages,
            tools,
            tool_choice=chosen,
            parallel_tool_calls=body.parallel_tool_calls,
            stop=body.stops,
            schema=None if form is None else form.schema_of_answer,
            steering=steered.steering,
            draws=str(number),
        )
        for number in range(body.n or 1)
    ]
    options = Options(
        max_new_tokens=room,
        temperature=temperature,
        top_p=1.0 if body.top_p is None else body.top_p,
        seed=seed,
        stop=questions[0].decoding_stop,
    )
    return Answering(body, f"chatcmpl-{secrets.token_hex(12)}", questions, options, steered)


def query_of(messages: Sequence[Message]) -> str:
    """What a dictionary is asked about: the user's last words, else the last message."""
    said = [message for message in messages if message.role == "user"]
    return content_text((said or messages)[-1].plain()["content"])


def _submit(service: Service, answering: Answering) -> None:
    seconds = service.limits.seconds
    for question in answering.questions:
        answering.tickets.append(
            service.engine.submit(
                question.request,
                answering.options,
                deadline=None if seconds is None else time.monotonic() + seconds,
                logprobs=(answering.body.top_logprobs or 0) if answering.body.logprobs else None,
            )
        )


async def _unless_gone(request: Request, work: asyncio.Future[Response]) -> Response:
    """What the work gives, unless the client goes away before: then it is cancelled."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    watch = asyncio.ensure_future(gone())
    try:
        both: set[asyncio.Future[Any]] = {work, watch}
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else Response(status_code=_CLIENT_GONE)
    finally:
        watch.cancel()
        work.cancel()


async def _whole(service: Service, answering: Answering) -> Response:
    completions = await asyncio.gather(*(ticket.completion() for ticket in answering.tickets))
    choices = []
    for index, (question, completion) in enumerate(
        zip(answering.questions, completions, strict=True)
    ):
        message = question.message(completion)
        choices.append(
            Choice(
                index=index,
                message=message_of(message),
                logprobs=logprobs_of(service.model, completion.logprobs),
                finish_reason=finish_of(message, completion),
            )
        )
    said = [choice.message for choice in choices]
    await to_thread.run_sync(_account, service, answering, completions, said)
    answer = ChatCompletion(
        id=answering.id,
        created=answering.created,
        model=service.name,
        system_fingerprint=service.model.fingerprint,
        choices=choices,
        usage=usage_of(completions),
        steering=answering.steered.block(),
    )
    return Response(answer.model_dump_json(), media_type="application/json")


def _account(
    service: Service,
    answering: Answering,
    completions: Sequence[Completion],
    said: Sequence[AnsweredMessage],
) -> None:
    """Count an answer, and remember it for feedback; writes into the store, so in a thread."""
    body, steering = answering.body, answering.steered.steering
    usage = usage_of(completions)
    seconds = time.monotonic() - answering.began
    first, queued = (
        min((value for t in answering.tickets if (value := read(t)) is not None), default=None)
        for read in (lambda t: t.first_token_seconds, lambda t: t.queued_seconds)
    )
    service.metrics.answer(
        answering.steered,
        prompt_tokens=usage.prompt_tokens,
        new_tokens=usage.completion_tokens,
        first_seconds=first,
        queued_seconds=queued,
    )
    words = {
        "messages": [message.plain() for message in body.messages],
        "answers": [message.model_dump(exclude_none=True) for message in said],
    }
    service.log.request(
        "answered",
        id=answering.id,
        user=service.log.who(body.user),
        streamed=bool(body.stream),
        prompt_tokens=usage.prompt_tokens,
        new_tokens=usage.completion_tokens,
        seconds=round(seconds, 3),
        first_seconds=first and round(first, 3),
        steered=steering is not None,
        reason=answering.steered.reason,
        words=words,
    )
    if body.user is None:
        return
    came = Came(
        answers=1,
        prompt_tokens=usage.prompt_tokens,
        new_tokens=usage.completion_tokens,
        seconds=seconds,
    )
    service.outcomes.came(body.user, came, since=answering.asked)
    answered = Answered(
        id=answering.id,
        user=body.user,
        request=query_of(body.messages),
        messages=words["messages"],
        tools=[tool.plain() for tool in body.tools],
        answers=words["answers"],
        asked=answering.asked,
        size=len(body.model_dump_json()) + 8 * usage.completion_tokens,
    )
    service.recent.keep(answered)
    if steering is not None and steering.picked:
        service.store.used(body.user, steering.picked)


# ---- streaming ---------------------------------------------------------------------------------


async def _streamed(service: Service, answering: Answering) -> Response:
    """A stream whose first piece is there, so that what fails before it has a status of its own."""
    pieces = _pieces(answering)
    first = await anext(pieces)
    return EventSourceResponse(
        _events(service, answering, first, pieces),
        sep="\n",
        shutdown_grace_period=_DRAIN_SECONDS,
    )


Arrived = tuple[int, Piece | Completion]
"""Of the answer with this number, a piece or its end."""


async def _pieces(answering: Answering) -> AsyncIterator[Arrived]:
    """The pieces of all answers as they come, each answer's completion last."""
    arrived: asyncio.Queue[Arrived | BaseException] = asyncio.Queue()

    async def follow(index: int, ticket: Ticket) -> None:
        try:
            async for piece in ticket:
                arrived.put_nowait((index, piece))
            arrived.put_nowait((index, await ticket.completion()))
        except Exception as error:
            arrived.put_nowait(error)

    tasks = [asyncio.ensure_future(follow(n, t)) for n, t in enumerate(answering.tickets)]
    try:
        left = len(tasks)
        while left:
            one = await arrived.get()
            if isinstance(one, BaseException):
                raise one
            left -= isinstance(one[1], Completion)
            yield one
    finally:
        for task in tasks:
            task.cancel()
        answering.cancel()


async def _events(
    service: Service, answering: Answering, first: Arrived, rest: AsyncIterator[Arrived]
) -> AsyncIterator[dict[str, str]]:
    """The server-sent events of an answer."""

    def chunk(*choices: ChunkChoice, **more: Any) -> dict[str, str]:
        made = ChatCompletionChunk(
            id=answering.id,
            created=answering.created,
            model=service.name,
            system_fingerprint=service.model.fingerprint,
            choices=list(choices),
            **more,
        )
        unset = {"usage", "steering"} - set(more)
        return {"data": made.model_dump_json(exclude=unset)}

    readers = [question.reader() for question in answering.questions]
    ids: list[dict[int, str]] = [{} for _ in readers]
    completions: dict[int, Completion] = {}
    said: dict[int, AnsweredMessage] = {}

    async def arrivals() -> AsyncIterator[Arrived]:
        yield first
        async for one in rest:
            yield one

    try:
        block = answering.steered.block()
        for index in range(len(readers)):
            more = {"steering": block} if index == 0 else {}
            start = AnsweredMessage(role="assistant", content="")
            yield chunk(ChunkChoice(index=index, delta=start), **more)
        async for index, what in arrivals():
            if isinstance(what, Completion):
                message = answering.questions[index].message(what)
                completions[index], said[index] = what, message_of(message)
                for delta in chunks_of_delta(readers[index].finish(message), ids[index]):
                    yield chunk(ChunkChoice(index=index, delta=delta))
                ended = ChunkChoice(
                    index=index, delta=AnsweredMessage(), finish_reason=finish_of(message, what)
                )
                yield chunk(ended)
                continue
            logprobs = logprobs_of(service.model, what.logprobs)
            made = list(chunks_of_delta(readers[index].feed(what.text), ids[index]))
            if logprobs is not None and not made:
                made = [AnsweredMessage()]
            for number, delta in enumerate(made):
                likely = logprobs if number == 0 else None
                yield chunk(ChunkChoice(index=index, delta=delta, logprobs=likely))
        every = [completions[index] for index in sorted(completions)]
        messages = [said[index] for index in sorted(said)]
        await to_thread.run_sync(_account, service, answering, every, messages)
        if answering.body.stream_options and answering.body.stream_options.include_usage:
            yield chunk(usage=usage_of(every))
        yield {"data": "[DONE]"}
    except Exception as error:
        yield {"data": bytes(response_of(error).body).decode()}
    finally:
        answering.cancel()
