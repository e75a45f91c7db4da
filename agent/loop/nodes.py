"""The agent's nodes: what each step of the loop does, as methods that can be called alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.types import Command

from ...errors import TrimtabError
from ...steering.dictionaries.steer import user_name
from ...tools.context import CallContext
from ...tools.quoting import without_control_tokens
from ...tools.running import failed
from ...tools.shop.toolkit import RESPOND
from ...tools.toolkit import ToolError, ToolResult
from ..calling.calls import parse_calls
from ..chat.messages import last_request, picked_entries
from ..users.conversation import Conversation, User
from ..users.user_goal import UserGoal
from .commands import Applied, applied
from .memory import remembered_lines
from .plain_values import plain_value
from .prompt import REMINDER, with_profile
from .prompting import next_step
from .state import AgentState, LoopState, Outcome, asked, is_asked, step_record, user_of
from .step_request import StepRequest

if TYPE_CHECKING:
    from ...steering.dictionaries.steer import Steer
    from ...steering.vectors.steering import Steering
    from ...tools.toolkit import Toolkit
    from ..calling.formats.call_format import CallFormat
    from ..model import AgentModel
    from .memory import PastRequest

# Nodes that are still to run when `observe` goes back: steer, act, call, observe; and `user`.
_ROUND = 4


class Remembers(Protocol):
    """What knows a user's past requests, such as a ``Memory``."""

    def recall(
        self, user_id: str, request: str, before: int | None = None
    ) -> Sequence[PastRequest]:
        """The past requests that the prompt for ``request`` shows, in its order."""
        ...


class ShowsRequest(Protocol):
    """What writes the user's message, such as ``plain_request``."""

    def __call__(
        self, request: str, *, purchases: Sequence[str] = (), memory: Sequence[str] = ()
    ) -> str:
        """The message: what there is to show, and the request."""
        ...


@dataclass(frozen=True)
class Nodes:
    """What the loop goes by, and its nodes.

    Attributes:
        model: A ``SteeredModel``, or a ``BatchedModel``.
        toolkit: The tools.
        steer: What steers a request of a user; None is nothing.
        memory: What of the past goes in the prompt; None is nothing.
        user: Whom the agent talks with; None is nobody.
        system: The system prompt; None is none.
        show_request: Writes the user's message.
        prompting: A name in ``PROMPTINGS``.
        constrained: Whether calls are held to the tools' schemas.
        must_call: Whether every step is a call. Otherwise words end the episode.
        final_tools: A successful call of one of these ends the episode.
        max_retries: How many failed calls are answered with their error for another try.
        step_limit: At most this many steps.
        max_new_tokens: At most this many tokens a step.
        temperature: 0 takes the most likely token; above, tokens are drawn.
        fields: Of the state, those that tools may write.
        call_format: The form of calls, or its name; None is that of the model's template.
    """

    model: AgentModel
    toolkit: Toolkit
    steer: Steer | None
    memory: Remembers | None
    user: User | None
    system: str | None
    show_request: ShowsRequest
    prompting: str
    constrained: bool
    must_call: bool
    final_tools: frozenset[str]
    max_retries: int
    step_limit: int
    max_new_tokens: int
    temperature: float = 0.0
    fields: frozenset[str] = frozenset()
    call_format: CallFormat | str | None = None

    def recall(self, state: AgentState, config: RunnableConfig) -> dict[str, Any]:
        """Put what is remembered in the user's message.

        Raises:
            TrimtabError: There is a memory, and nobody said whose.
        """
        said = last_request(state["messages"])
        request = said.text
        lines: list[str] = []
        if self.memory is not None:
            user = _named(state, config, "memory")
            lines = remembered_lines(self.memory.recall(user, request, state.get("before")))
        content = self.show_request(request, purchases=state.get("purchases", ()), memory=lines)
        content = with_profile(content, state.get("profile", ""))
        return {
            "messages": [HumanMessage(content, id=said.id)],  # in the place of what was said
            "request": request,
            "remembered": lines,
            "steps": [],
            "outcome": None,
        }

    def choose_steering(self, state: AgentState, config: RunnableConfig) -> dict[str, Any]:
        """Ask what steers the next step.

        Where every step must be a call, one that answers a tool's result is not steered: the
        dictionary is about what the user asked for.

        Raises:
            TrimtabError: Something steers, and nobody said whose request it is.
        """
        wanted = is_asked(state["messages"]) or not self.must_call
        steering = self._steering(state, config) if wanted else None
        return {"steering": steering, "picked": picked_entries(steering)}

    def act(self, state: AgentState, config: RunnableConfig) -> Command[Literal["call", "__end__"]]:
        """Take one step of the model.

        Where words may end the episode, a successful call that the model would make again word
        for word is not made: the model is asked for words, and if it has none the episode is done.
        """
        steering = state.get("steering")
        if steering is None and state["picked"]:  # resumed from a checkpoint before this node
            steering = self._steering(state, config)
        message = self._step(state, steering, "call" if self.must_call else "either")
        if not self.must_call and _repeats(message, state["steps"]):
            words = self._step(state, steering, "words")
            if not words.text.strip() or parse_calls(words.text, call_format=self.call_format):
                return Command(update={"outcome": "done"}, goto="__end__")
            message = words
        return Command(update={"messages": [message]}, goto="call")

    def call(self, state: AgentState, config: RunnableConfig) -> Any:
        """Call the tool that the step asks for; an ``interrupt()`` in it pauses the graph.

        A tool's command is obeyed: it may write fields of the state, or leave for a parent graph.
        """
        message = state["messages"][-1]
        assert isinstance(message, AIMessage)
        done = Applied({}, [], False)
        if message.tool_calls:
            wanted = message.tool_calls[0]
            context = CallContext(wanted["id"] or "", state, config)
            result = self.toolkit.call(wanted["name"], wanted["args"], context=context)
            leaving = [command for command in result.commands if command.graph is not None]
            if leaving:
                return leaving
            try:
                done = applied(result.commands, context.call_id, self.fields)
            except TrimtabError as error:
                result = failed(str(error))
        elif message.invalid_tool_calls:
            reason = message.invalid_tool_calls[0]["error"] or "there is no tool call"
            result = ToolResult.of_error(ToolError("unparsable", reason))
        else:
            result = ToolResult("")  # words
        # A tool may return anything; a checkpoint and a record hold plain data.
        return {
            **done.update,
            "result": {
                "content": result.content,
                "value": plain_value(result.value),
                "error": result.error and asdict(result.error),
                "messages": done.messages,
                "ends": done.ends,
            },
        }

    def observe(self, state: LoopState) -> Command[Literal["steer", "user", "__end__"]]:
        """Show the model what came of its step, and end the episode or take the next step."""
        message, result = state["messages"][-1], state["result"]
        assert isinstance(message, AIMessage)
        steps = [*state["steps"], step_record(message, result, state["picked"])]
        asked_for = [*message.tool_calls, *message.invalid_tool_calls]
        if not asked_for:
            return Command(update={"steps": steps, "outcome": "done"}, goto="__end__")
        wanted = asked_for[0]
        wrong = result["error"] is not None
        resumes = (
            self.user is not None
            and not wrong
            and wanted["name"] not in {RESPOND, *self.final_tools}
        )
        shown = ToolMessage(
            content=f"{result['content']}\n\n{REMINDER}" if resumes else result["content"],
            tool_call_id=wanted["id"] or "",
            name=wanted["name"],
            status="error" if wrong else "success",
        )
        spoke = self.user is not None and not wrong and wanted["name"] == RESPOND
        outcome: Outcome | None = None
        if not wrong and (wanted["name"] in self.final_tools or result["ends"]):
            outcome = "done"
        elif sum(step["error"] is not None for step in steps) > self.max_retries:
            outcome = "gave up"
        elif len(steps) >= self.step_limit or state["remaining_steps"] <= _ROUND + spoke:
            outcome = "step limit"  # LangGraph's own limit would raise, and lose what was done
        goto: Literal["steer", "user", "__end__"] = "user" if spoke else "steer"
        update = {"messages": [shown, *result["messages"]], "steps": steps, "outcome": outcome}
        return Command(update=update, goto="__end__" if outcome else goto)

    def answer(self, state: AgentState) -> Command[Literal["steer", "__end__"]]:
        """Bring what the user answers to what was said."""
        assert self.user is not None
        user_goal = UserGoal.from_json(state["user_goal"]) if state.get("user_goal") else None
        reply = self.user.answer(Conversation.of(user_goal, state["request"], state["steps"]))
        text = without_control_tokens(reply.text)
        update: dict[str, Any] = {
            "steps": [*state["steps"][:-1], {**state["steps"][-1], "reply": text}]
        }
        if reply.leaves:
            return Command(update={**update, "outcome": "user left"}, goto="__end__")
        return Command(update={**update, "messages": [HumanMessage(text)]}, goto="steer")

    def _steering(self, state: AgentState, config: RunnableConfig) -> Steering | None:
        if self.steer is None:
            return None
        return self.steer(_named(state, config, "steering"), asked(state), state.get("before"))

    def _step(
        self,
        state: AgentState,
        steering: Steering | None,
        wanted: Literal["call", "either", "words"],
    ) -> AIMessage:
        request = StepRequest(
            model=self.model,
            system=self.system,
            messages=state["messages"],
            tools=self.toolkit.schemas(),
            steering=steering,
            constrained=self.constrained,
            wanted=wanted,
            talks=self.user is not None,
            max_new_tokens=self.max_new_tokens,
            temperature=self.temperature,
            draws=f"{state['draws']}/{len(state['steps'])}" if "draws" in state else "",
            call_format=self.call_format,
        )
        return next_step(self.prompting, request)


def _named(state: AgentState, config: RunnableConfig, what: str) -> str:
    """Whose request it is.

    Raises:
        TrimtabError: Neither the config nor the input says.
    """
    user = user_of(state, config)
    if user is None:
        raise TrimtabError(
            f"{what} needs to know the user; pass config={{'configurable': {{'user_id': ...}}}}"
        )
    return user_name(user)


def _repeats(message: AIMessage, steps: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a step makes the call of the step before again, although it succeeded."""
    if not message.tool_calls or not steps:
        return False
    last, made = steps[-1], message.tool_calls[0]
    return bool(
        last["call"]
        and last["error"] is None
        and (made["name"], made["args"]) == (last["call"]["name"], last["call"]["arguments"])
    )
