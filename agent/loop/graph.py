"""The agent: a LangGraph loop that recalls, steers, acts, calls the tool, and observes.

    START -> recall -> steer -> act -> call -> observe -> END
                         ^                        |
                         +--------(user)----------+

``recall`` puts what is remembered in the user's message. ``steer`` asks what steers the current
request, anew at every step. ``act`` is one step of the model. ``call`` runs the tool. ``observe``
shows the model what came of it, and either ends the episode or goes back to ``steer``. Words end
the episode, unless every step must be a call. Where the agent talks with a user, ``user`` brings
what they answer to what was said.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from langgraph.graph import END, START, StateGraph

from ...errors import TrimtabError
from ...steering.dictionaries.steer import steer_or_store
from ...tools.shop.toolkit import STOP, conversation_tools
from ..calling.calls import call_grammar
from ..calling.detection import call_format_of
from ..users.conversation import User
from .commands import state_schemas
from .nodes import Nodes, Remembers, ShowsRequest
from .prompt import plain_request
from .prompting import PROMPTINGS

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph
    from langgraph.store.base import BaseStore
    from langgraph.types import Checkpointer

    from ...steering.dictionaries.dictionary import SteeringDictionary
    from ...steering.dictionaries.settings import SteeringSettings
    from ...steering.dictionaries.steer import Steer
    from ...tools.toolkit import Toolkit
    from ..calling.formats.call_format import CallFormat
    from ..model import AgentModel
    from .state import AgentInput, AgentState

Decode = Literal["constrained", "free"]

SINGLE_TURN_STEPS, MULTI_TURN_STEPS = 8, 10
"""Step limits; PersonalWAB's multi-turn track has 10."""
_RETRIES = 2


def build_agent(
    model: AgentModel,
    toolkit: Toolkit,
    *,
    steer: Steer | None = None,
    store: Mapping[str, SteeringDictionary] | None = None,
    settings: SteeringSettings | None = None,
    system: str | None = None,
    memory: Remembers | None = None,
    user: User | None = None,
    prompting: str = "call",
    decode: Decode = "constrained",
    call_format: CallFormat | str | None = None,
    must_call: bool | None = None,
    final_tools: Collection[str] | None = None,
    max_retries: int | None = None,
    step_limit: int | None = None,
    max_new_tokens: int = 128,
    temperature: float = 0.0,
    show_request: ShowsRequest = plain_request,
    checkpointer: Checkpointer = None,
    state_schema: type | None = None,
    context_schema: type | None = None,
    tool_store: BaseStore | None = None,
) -> CompiledStateGraph[AgentState, None, AgentInput, AgentState]:
    """Build the agent as a compiled LangGraph graph.

    At each step the model calls a tool or answers in words, as it chooses; words end the episode.
    A successful call that it would make again word for word is not made: it is asked for words.

    Args:
        model: A ``SteeredModel``, or a ``BatchedModel`` to run many episodes at once.
        toolkit: The tools that it may call.
        steer: What steers a request of a user, from ``steer_by``; None is nothing.
        store: Short for ``steer=steer_by(store, settings, model=model)``: the users'
            dictionaries, a ``SteeringStore`` or any mapping by user.
        settings: Which entries of the store are picked and how they are added; None is the
            default.
        system: The system prompt; None is none but what the tools need.
        memory: What of the past goes in the prompt; None is nothing.
        user: Whom the agent talks with: it gets the tools ``respond`` and ``stop`` besides. None
            is nobody.
        prompting: A name in ``PROMPTINGS``: plain function calls, or ReAct's thoughts and actions.
        decode: ``constrained`` calls fit the tools' schemas, but for what no grammar can say and
            the toolkit checks; ``free`` ones are parsed.
        call_format: The form of calls, or its name in the table of formats. Default: that which the
            model's template teaches. Another one is taught in the system message.
        must_call: Whether every step must be a call. Default: only with a user, or in ReAct.
        final_tools: A successful call of one of these, or of a LangChain tool with
            ``return_direct``, ends the episode. Default: with a user
            ``stop``, else any tool where every step must be a call, and none where words end it.
        max_retries: How many failed calls are answered with their error for another try.
            Default: with a user as many as there are steps, else 2.
        step_limit: At most this many steps. Default: with a user 10, else 8.
        max_new_tokens: At most this many tokens a step.
        temperature: 0 takes the most likely token; above, tokens are drawn.
        show_request: Writes the user's message from the request, purchases and memory lines.
        checkpointer: LangGraph's, to keep and resume episodes.
        state_schema: A typed dict of further fields of the state, which tools may read
            (``InjectedState``) and write (``Command(update=...)``).
        context_schema: Of the context that ``invoke(..., context=...)`` hands to tools
            (``ToolRuntime``).
        tool_store: LangGraph's store, for tools that want one (``InjectedStore``).

    Raises:
        TrimtabError: A call format that nobody knows, a final tool that the toolkit does not have,
            a state schema that adds no field or changes one of the agent's, an unknown prompting
            or way to decode, a limit out of range, or as for ``steer_by``.

    Example:
        >>> agent = build_agent(model, toolkit, store={"u1": dictionary})  # doctest: +SKIP
        >>> agent.invoke(
        ...     {"messages": [("user", "something for rainy days")]},
        ...     {"configurable": {"user_id": "u1"}},
        ... )["messages"][-1].content  # doctest: +SKIP
    """
    if must_call is None:
        must_call = user is not None or prompting == "react"
    if user is not None:
        toolkit = toolkit.with_tools(*conversation_tools())
        final_tools = [STOP] if final_tools is None else final_tools
    unknown = sorted(set(final_tools or ()) - set(toolkit.names))
    if unknown:
        raise TrimtabError(f"expected final tools among {', '.join(toolkit.names)}; got {unknown}")
    if decode not in get_args(Decode):
        raise TrimtabError(f"expected decode constrained or free, got {decode!r}")
    if prompting not in PROMPTINGS:
        raise TrimtabError(f"expected prompting {' or '.join(PROMPTINGS)}, got {prompting!r}")
    if step_limit is None:
        step_limit = SINGLE_TURN_STEPS if user is None else MULTI_TURN_STEPS
    if max_retries is None:
        max_retries = _RETRIES if user is None else step_limit
    if max_retries < 0 or step_limit < 1:
        raise TrimtabError(
            "expected max_retries of at least 0 and step_limit of at least 1; got "
            f"{max_retries} and {step_limit}"
        )
    if final_tools is None:
        final_tools = toolkit.names if must_call else ()
    schemas = state_schemas(state_schema)
    form = call_format_of(model, call_format)
    if decode == "constrained" and must_call:
        call_grammar(
            toolkit.schemas(), call_format=form
        )  # refuses now what could not be held to later
    nodes = Nodes(
        model=model,
        toolkit=toolkit,
        steer=steer_or_store(steer, store, settings, model),
        memory=memory,
        user=user,
        system=system,
        show_request=show_request,
        prompting=prompting,
        constrained=decode == "constrained",
        must_call=must_call,
        final_tools=frozenset([*final_tools, *(s.name for s in toolkit if s.return_direct)]),
        max_retries=max_retries,
        step_limit=step_limit,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        fields=schemas.fields,
        call_format=call_format,
    )
    graph: StateGraph[Any, Any, Any, Any] = StateGraph(
        schemas.state,
        context_schema=context_schema,
        input_schema=schemas.input,
        output_schema=schemas.output,
    )
    graph.add_node("recall", nodes.recall)
    graph.add_node("steer", nodes.choose_steering)
    graph.add_node("act", nodes.act)
    graph.add_node("call", nodes.call, input_schema=schemas.state)  # tools may read all of it
    graph.add_edge(START, "recall")
    graph.add_edge("recall", "steer")
    graph.add_edge("steer", "act")
    graph.add_edge("call", "observe")
    if user is None:
        graph.add_node("observe", nodes.observe, destinations=("steer", END))
    else:
        graph.add_node("observe", nodes.observe)
        graph.add_node("user", nodes.answer)
    compiled: Any = graph.compile(checkpointer=checkpointer, store=tool_store, name="trimtab")
    return compiled
