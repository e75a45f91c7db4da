"""The shopping agent: its prompts and its rules, as PersonalWAB's tracks have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ...steering.dictionaries.steer import steer_or_store
from ..loop.graph import MULTI_TURN_STEPS, build_agent
from ..loop.prompt import SYSTEM_PROMPT, conversation_prompt, user_message
from .settings import TOOL_CHOICE

if TYPE_CHECKING:
    from langgraph.graph.state import CompiledStateGraph

    from ...steering.dictionaries.dictionary import SteeringDictionary
    from ...steering.dictionaries.settings import SteeringSettings
    from ...steering.dictionaries.steer import Steer
    from ...tools.toolkit import Toolkit
    from ..loop.state import AgentInput, AgentState
    from ..model import AgentModel
    from ..users.conversation import User


def shop_agent(
    model: AgentModel,
    toolkit: Toolkit,
    *,
    steer: Steer | None = None,
    store: Mapping[str, SteeringDictionary] | None = None,
    settings: SteeringSettings | None = None,
    user: User | None = None,
    step_limit: int | None = None,
    **options: Any,
) -> CompiledStateGraph[AgentState, None, AgentInput, AgentState]:
    """An agent with the shop's prompt, whose every step is a call.

    With a user it is PersonalWAB's multi-turn track, which ``stop`` ends; without one the
    single-turn track, which any successful call ends.

    Args:
        model: As for ``build_agent``.
        toolkit: The shop's tools.
        steer: As for ``build_agent``.
        store: As for ``build_agent``.
        settings: As for ``build_agent``; None is ``TOOL_CHOICE``.
        user: Whom the agent talks with.
        step_limit: As for ``build_agent``.
        **options: Any other of ``build_agent``.

    Raises:
        TrimtabError: As for ``build_agent``.
    """
    if user is None:
        system = SYSTEM_PROMPT
    else:
        system = conversation_prompt(MULTI_TURN_STEPS if step_limit is None else step_limit)
    return build_agent(
        model,
        toolkit,
        steer=steer_or_store(steer, store, settings or TOOL_CHOICE, model),
        system=system,
        user=user,
        must_call=True,
        step_limit=step_limit,
        show_request=user_message,
        **options,
    )
