"""A shopping run's method in PersonalWAB's result format."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from ....agent.loop.graph import MULTI_TURN_STEPS
from ....agent.loop.prompt import SYSTEM_PROMPT, conversation_prompt
from ....agent.loop.react import react_system
from ....envs.shop.environment import shop_schemas
from ....envs.shop.personalwab_results import personalwab_results
from ....errors import TrimtabError
from ....tools.shop.toolkit import conversation_tools
from ....tools.toolkit import Toolkit
from ..record import Run

if TYPE_CHECKING:
    from ....envs.shop.world import World
    from ....steering.dictionaries.encoder import Encoder


def personalwab_file(run: Run, method: str, world: World) -> list[dict[str, Any]]:
    """What PersonalWAB's own run script writes, for one method.

    Args:
        run: A shopping run.
        method: The method.
        world: The world that was played, whose test tasks number the results.

    Raises:
        TrimtabError: It is no shopping run, or another world was played.
    """
    if run.task != "shop":
        raise TrimtabError(
            f"expected a shopping run, from `trimtab run`; got a run of {run.task!r}"
        )
    played = run.configuration.get("world", {})
    if played.get("fingerprint") != world.fingerprint:
        raise TrimtabError(
            f"{run.path} was played in {played.get('name')!r}, not in {world.name!r}; give its "
            "world with --world"
        )
    episodes = [
        {
            "task_id": record.sample_id,
            "result": record.scores.get("result"),
            "error": record.error,
            "episode": record.detail.get("episode"),
        }
        for record in run.of[method].values()
        if not record.repeat  # the benchmark plays each task once
    ]
    options = run.configuration.get("methods", {}).get(method, {})
    return personalwab_results(
        episodes,
        world.test,
        run_args={**options, "model": run.configuration.get("model", {}).get("name", "")},
        similarity=lambda one, other: _encoder().similarity(one, other),
        system=_system(run, world),
    )


def _system(run: Run, world: World) -> str:
    """The system message of the run's track and prompting."""
    multi = run.configuration.get("track") == "multi"
    limit = run.configuration.get("steps") or MULTI_TURN_STEPS
    system = conversation_prompt(limit) if multi else SYSTEM_PROMPT
    if run.configuration.get("prompting") != "react":
        return system
    talk = Toolkit(conversation_tools()).schemas() if multi else []
    # A run with `--tools` keeps the schemas of all its tools.
    tools = run.configuration.get("schemas") or shop_schemas(world)
    return react_system(system, [*tools, *talk])


@cache
def _encoder() -> Encoder:
    from ....steering.dictionaries.encoder import load_encoder

    return load_encoder()
