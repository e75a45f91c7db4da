"""Contrast pairs from shopping tasks: the tool that a user meant, and the one the model would call.

Response contrast for tool calls: the prompt is the same, the chosen answer starts a call of the
right tool, the rejected one a call of the wrong tool that the model itself likes best. Both end
with the tool's name. Its tokens are where the two differ by what the user meant; the arguments
that follow differ by everything that an ASIN and a sentence differ in, and drown it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ...envs.shop.request import request_text
from ...envs.shop.scoring import right_tool
from ...steering.contrast.context import Context, HistorySample, contexts
from ...steering.contrast.pairs import ContrastPair, Exchange
from ...steering.contrast.relevance import by_similarity
from ...steering.reading.likelihood import answer_log_likelihoods
from ..calling.calls import call_head
from ..calling.detection import call_format_of
from ..calling.formats.call_format import CallFormat
from ..calling.formats.table import HERMES
from ..loop.memory import PastRequest, remembered_lines
from ..loop.prompt import opening
from .past_requests import past_request

if TYPE_CHECKING:
    from ...envs.shop.environment import ShopEnvironment
    from ...envs.shop.records import ShoppingTask
    from ...steering.model import SteeredModel


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
    form = call_format_of(model)
    chosen = tool_choice_pairs(environment, tasks, call_format=form)
    every = [pair for own in chosen.values() for pair in own]
    wrong = answer_log_likelihoods(
        model,
        [model.tokenized(pair.negative) for pair in every],
        progress=progress,
    )
    likeliest: dict[str, tuple[float, ContrastPair]] = {}
    for pair, score in zip(every, wrong.tolist(), strict=True):
        if pair.sample_id not in likeliest or score > likeliest[pair.sample_id][0]:
            likeliest[pair.sample_id] = score, pair
    pairs: dict[str, list[ContrastPair]] = {task.user_id: [] for task in tasks}
    for task in sorted(tasks, key=lambda task: task.timestamp):
        pairs[task.user_id].append(likeliest[task.id][1])
    return pairs


def context_pairs(
    model: SteeredModel,
    environment: ShopEnvironment,
    users: Sequence[str],
    *,
    k: int = 3,
    seed: int = 0,
) -> dict[str, list[ContrastPair]]:
    """Context contrast: the right call, after the user's own past requests and after others'.

    Both sides remember equally many requests, which were answered before the task's time; a task
    without such requests on either side gives no pair.

    Args:
        model: For its sentence encoder, which ranks a user's own past requests.
        environment: Where the training tasks come from.
        users: Whose pairs.
        k: At most this many requests are remembered.
        seed: Of the draws from other users.

    Returns:
        By user id, in the order of time.
    """
    world, tools = environment.world, environment.toolkit.schemas()
    tasks = {task.id: task for task in world.train}
    form = call_format_of(model)
    samples: dict[str, list[HistorySample]] = {user: [] for user in users}
    for task in world.train:
        head = call_head(right_tool(task.type), form)
        sample = HistorySample(task.id, request_text(task), head, task.timestamp)
        samples.setdefault(task.user_id, []).append(sample)
    around = contexts(samples, by_similarity(model.encoder), k=k, seed=seed, users=users)

    def remembered(context: Context, shown: Sequence[HistorySample]) -> list[PastRequest]:
        now = context.sample.timestamp
        past = [tasks[sample.id] for sample in shown]
        # Asked before is not yet answered before.
        return [past_request(environment, t) for t in past if t.target.timestamp < now]

    pairs: dict[str, list[ContrastPair]] = {user: [] for user in users}
    for user, own in around.items():
        for context in own:
            sides = [remembered(context, shown) for shown in (context.own, context.others)]
            count = min(map(len, sides))
            task = tasks[context.sample.id]
            positive, negative = (
                Exchange(
                    task_prompt(environment, task, remembered_lines(side[:count])),
                    context.sample.output,
                    tools,
                )
                for side in sides
            )
            if count:
                pairs[user].append(
                    ContrastPair(
                        sample_id=task.id,
                        request=context.sample.input,
                        positive=positive,
                        negative=negative,
                        contrast="context",
                        timestamp=task.timestamp,
                    )
                )
    return pairs


def tool_choice_pairs(
    environment: ShopEnvironment,
    tasks: Sequence[ShoppingTask],
    *,
    call_format: CallFormat = HERMES,
) -> dict[str, list[ContrastPair]]:
    """For each task the right tool against each of the others, by user id.

    The likelihoods of the two sides tell which tool a model would choose; nothing is generated.

    Args:
        environment: Where the tasks come from.
        tasks: Of any users.
        call_format: In which the model is taught to call.
    """
    tools = environment.toolkit.schemas()
    pairs: dict[str, list[ContrastPair]] = {task.user_id: [] for task in tasks}
    for task in tasks:
        prompt = task_prompt(environment, task)
        right = right_tool(task.type)
        pairs[task.user_id] += [
            ContrastPair(
                sample_id=task.id,
                request=request_text(task),
                positive=Exchange(prompt, call_head(right, call_format), tools),
                negative=Exchange(prompt, call_head(other, call_format), tools),
                timestamp=task.timestamp,
            )
            for other in environment.toolkit.names
            if other != right
        ]
    return pairs


def task_prompt(
    environment: ShopEnvironment, task: ShoppingTask, memory: Sequence[str] = ()
) -> list[dict[str, str]]:
    """The messages that the agent starts this task with."""
    purchases = environment.purchase_lines(task.user_id, task.timestamp)
    return opening(request_text(task), purchases=purchases, memory=memory)
