"""Contrast pairs from shopping tasks: the tool that a user meant, and the one the model would call.

Response contrast for tool calls: the prompt is the same, the chosen answer starts a call of the
right tool, the rejected one a call of the wrong tool that the model itself likes best. Both end
with the tool's name. Its tokens are where the two differ by what the user meant; the arguments
that follow differ by everything that an ASIN and a sentence differ in, and drown it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..envs.scoring import right_tool
from ..steering.contrast import ContrastPair, Exchange
from ..steering.likelihood import answer_log_likelihoods
from .calls import ToolCall, format_call
from .prompt import opening

if TYPE_CHECKING:
    from ..envs.records import ShoppingTask
    from ..envs.shop import ShopEnvironment
    from ..steering.model import SteeredModel


def response_pairs(
    model: SteeredModel,
    environment: ShopEnvironment,
    tasks: Sequence[ShoppingTask],
    *,
    progress: Callable[[int], None] | None = None,
) -> dict[str, list[ContrastPair]]:
    """One contrast pair a training task, for each user in the order of time.

    Args:
        model: Whose own wrong choice is the rejected side: the likeliest of the other tools.
        environment: Where the tasks come from.
        tasks: Training tasks, of any users.
        progress: Told after each batch how many wrong answers it held, two a task.

    Returns:
        By user id.
    """
    every = [pair for own in tool_choice_pairs(environment, tasks).values() for pair in own]
    wrong = answer_log_likelihoods(
        model,
        [model.forced(pair.negative) for pair in every],
        progress=progress,
    )
    likeliest: dict[str, tuple[float, ContrastPair]] = {}
    for pair, score in zip(every, wrong.tolist(), strict=True):
        if pair.sample_id not in likeliest or score > likeliest[pair.sample_id][0]:
            likeliest[pair.sample_id] = score, pair
    found: dict[str, list[ContrastPair]] = {task.user_id: [] for task in tasks}
    for task in sorted(tasks, key=lambda task: task.timestamp):
        found[task.user_id].append(likeliest[task.id][1])
    return found


def tool_choice_pairs(
    environment: ShopEnvironment, tasks: Sequence[ShoppingTask]
) -> dict[str, list[ContrastPair]]:
    """For each task the right tool against each of the others, by user id.

    The likelihoods of the two sides tell which tool a model would choose; nothing is generated.
    """
    tools = environment.toolkit.schemas()
    found: dict[str, list[ContrastPair]] = {task.user_id: [] for task in tasks}
    for task in tasks:
        prompt = task_prompt(environment, task)
        right = right_tool(task.type)
        found[task.user_id] += [
            ContrastPair(
                sample_id=task.id,
                request=task.task,
                positive=Exchange(prompt, call_head(right), tools),
                negative=Exchange(prompt, call_head(other), tools),
                timestamp=task.timestamp,
            )
            for other in environment.toolkit.names
            if other != right
        ]
    return found


def task_prompt(environment: ShopEnvironment, task: ShoppingTask) -> list[dict[str, str]]:
    """The messages that the agent starts this task with, nothing remembered."""
    return opening(task.task, purchases=environment.purchase_lines(task.user_id, task.timestamp))


def call_head(tool: str) -> str:
    """A call as the model is taught it, up to the quote that ends the tool's name."""
    text = format_call(ToolCall(tool))
    return text[: text.index(f'"{tool}"') + len(tool) + 2]
