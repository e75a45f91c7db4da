"""Contrast pairs from shopping tasks: the call that answers a request well, and the model's own.

Response contrast for tool calls: the prompt is the same, the chosen answer is a call of the right
tool that scores well, the rejected one is what the model itself would have called. Where the
model is right at once it is asked again with the right tool withheld, so that every request has
something to say; a right call with a poor result is rejected as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..envs.reference import reference_arguments
from ..envs.scoring import result_score, right_tool
from ..steering.contrast import ContrastPair, Exchange
from ..steering.generation import Request
from .calls import ToolCall, call_grammar, format_call, parse_call
from .prompt import opening

if TYPE_CHECKING:
    from ..envs.records import ShoppingTask
    from ..envs.shop import ShopEnvironment
    from ..steering.model import SteeredModel

POOR_RESULT = {"search": 0.65, "recommend": 0.65, "review": 0.51}
"""A right call whose result is below this is a rejected answer (Fints, on PersonalWAB)."""


def response_pairs(
    model: SteeredModel,
    environment: ShopEnvironment,
    tasks: Sequence[ShoppingTask],
    *,
    max_new_tokens: int = 128,
    progress: Callable[[int], None] | None = None,
) -> dict[str, list[ContrastPair]]:
    """Contrast pairs of each user's training tasks, in the order of time.

    Args:
        model: Whose own calls are the rejected side.
        environment: Where the tasks come from.
        tasks: Training tasks, of any users.
        max_new_tokens: At most this many tokens in a call of the model's own.
        progress: Told how many tasks are done.

    Returns:
        By user id; a task whose own call was cut short gives no pair.
    """
    found: dict[str, list[ContrastPair]] = {task.user_id: [] for task in tasks}
    chosen = [reference_call(environment, task) for task in tasks]
    rejected = _bad_calls(model, environment, tasks, max_new_tokens, progress)
    for task, good, bad in zip(tasks, chosen, rejected, strict=True):
        if bad is not None:
            found[task.user_id].append(_pair(environment, task, format_call(good), format_call(bad)))
    return {
        user: sorted(pairs, key=lambda pair: pair.timestamp) for user, pairs in found.items()
    }


def tool_choice_pairs(
    environment: ShopEnvironment, tasks: Sequence[ShoppingTask]
) -> dict[str, list[ContrastPair]]:
    """For each task the start of a call up to the tool's name: the right one against each other.

    Their likelihoods tell which tool a model would choose, without generating anything.
    """
    found: dict[str, list[ContrastPair]] = {task.user_id: [] for task in tasks}
    for task in tasks:
        right = right_tool(task.type)
        found[task.user_id] += [
            _pair(environment, task, _up_to_name(right), _up_to_name(other))
            for other in environment.toolkit.names
            if other != right
        ]
    return found


def task_prompt(environment: ShopEnvironment, task: ShoppingTask) -> list[dict[str, str]]:
    """The messages that the agent starts this task with, nothing remembered."""
    return opening(task.task, purchases=environment.purchase_lines(task.user_id, task.timestamp))


def reference_call(environment: ShopEnvironment, task: ShoppingTask) -> ToolCall:
    """The call that answers a training task well."""
    recent = environment.recent_purchases(task.user_id, task.timestamp)
    asins = [purchase.product_info.parent_asin for purchase in recent]
    return ToolCall(right_tool(task.type), reference_arguments(task, asins))


def _pair(environment: ShopEnvironment, task: ShoppingTask, good: str, bad: str) -> ContrastPair:
    prompt, tools = task_prompt(environment, task), environment.toolkit.schemas()
    return ContrastPair(
        sample_id=task.id,
        request=task.task,
        positive=Exchange(prompt, good, tools),
        negative=Exchange(prompt, bad, tools),
        timestamp=task.timestamp,
    )


def _up_to_name(tool: str) -> str:
    text = format_call(ToolCall(tool, {}))
    return text[: text.index(tool) + len(tool) + 1]  # with the quote that ends the name


def _bad_calls(
    model: SteeredModel,
    environment: ShopEnvironment,
    tasks: Sequence[ShoppingTask],
    max_new_tokens: int,
    progress: Callable[[int], None] | None,
) -> list[ToolCall | None]:
    """The model's own call for each task, asked again without the right tool if it was good."""
    calls = _own_calls(model, environment, tasks, [None] * len(tasks), max_new_tokens)
    good = [
        index
        for index, (task, call) in enumerate(zip(tasks, calls, strict=True))
        if call is None or _is_good(model, environment, task, call)
    ]
    retried = _own_calls(
        model,
        environment,
        [tasks[index] for index in good],
        [right_tool(tasks[index].type) for index in good],
        max_new_tokens,
    )
    for index, call in zip(good, retried, strict=True):
        calls[index] = call
    if progress:
        progress(len(tasks))
    return calls


def _own_calls(
    model: SteeredModel,
    environment: ShopEnvironment,
    tasks: Sequence[ShoppingTask],
    withheld: Sequence[str | None],
    max_new_tokens: int,
) -> list[ToolCall | None]:
    """One constrained call a task; None where it did not end within its tokens."""
    tools = environment.toolkit.schemas()
    names = environment.toolkit.names
    requests = [
        Request(
            task_prompt(environment, task),
            tools,
            grammar=call_grammar(tools, only=[name for name in names if name != without]),
        )
        for task, without in zip(tasks, withheld, strict=True)
    ]
    completions = model.generate(requests, max_new_tokens=max_new_tokens)
    return [
        call if completion.finish == "stop" and isinstance(call, ToolCall) else None
        for completion in completions
        for call in [parse_call(completion.text)]
    ]


def _is_good(
    model: SteeredModel, environment: ShopEnvironment, task: ShoppingTask, call: ToolCall
) -> bool:
    if call.name != right_tool(task.type):
        return False
    result = environment.toolkit.call(call.name, call.arguments)
    if not result.ok:
        return False
    score = result_score(task, call.arguments, result.value, model.encoder.similarity)
    return score >= POOR_RESULT[task.type]
