"""Played episodes in the result format of PersonalWAB's own run script, for its leaderboard.

The file is a JSON list. Its first item is the summary, ``{run_args, total cost, results}``; each
further one is a task, ``{task_id, action_acc, res_acc, info, traj, trial}``: the task's place in
its split, one accuracy of the function and of the result for each call of an action tool, the task
with the calls and tokens, and the messages. An episode that the machinery broke off is left out,
as it is in the benchmark, where it is run again.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...errors import TrimtabError
from ...files import replacing
from ...tools.shop.toolkit import ACTION_TOOLS, RESPOND
from .records import TASK_TYPES, ShoppingTask
from .scoring import Similarity, rank_score, right_tool

Plain = Mapping[str, Any]


def personalwab_results(
    episodes: Iterable[Plain],
    tasks: Sequence[ShoppingTask],
    *,
    run_args: Plain | None = None,
    similarity: Similarity | None = None,
    system: str = "",
    trial: int = 0,
) -> list[dict[str, Any]]:
    """Scored episodes as the list that PersonalWAB's ``run.py`` writes.

    Args:
        episodes: Plain data, one dict an episode, of one method: ``task_id``, ``result``
            (the result accuracy, None where the machinery failed), ``error`` (empty where nothing
            failed) and ``episode`` with ``request`` and ``steps``, as `ScoredEpisode.to_json` has
            them. Of a step ``call`` (``{name, arguments}`` or None), ``text``, ``content``,
            ``value``, ``error``, ``prompt_tokens`` and ``completion_tokens`` are read. Those that
            the machinery broke off are left out.
        tasks: All tasks of the split in their order, so that a task's place is its ``task_id``.
        run_args: Plain data on how the run was made; goes into the summary.
        similarity: Compares two texts; needed where an episode has several reviews.
        system: The system message, if it is to be in the trajectories.
        trial: The number of the trial.

    Raises:
        TrimtabError: A task is unknown or comes twice, an episode lacks a field, or several
            reviews are to be scored without a ``similarity``.
    """
    places = {task.id: place for place, task in enumerate(tasks)}
    results: dict[int, dict[str, Any]] = {}
    for scored in episodes:
        try:
            task_id = scored["task_id"]
            if task_id not in places:
                raise TrimtabError(
                    f"no task {task_id!r} among the {len(tasks)} of the split; "
                    "give the tasks of the world that was played"
                )
            place = places[task_id]
            if place in results:
                raise TrimtabError(
                    f"the task {task_id!r} comes twice; give the episodes of one method"
                )
            if scored["error"] or scored["episode"] is None:
                continue
            results[place] = _result(place, tasks[place], scored, similarity, system, trial)
        except (KeyError, TypeError, AttributeError) as error:
            raise TrimtabError(f"not the record of a scored episode: {error!r}") from error
    listed = [results[place] for place in sorted(results)]
    summary = {
        "run_args": dict(run_args or {}),
        "total cost": 0,
        "results": personalwab_statistics(listed),
    }
    return [summary, *listed]


def write_personalwab_results(results: Sequence[Plain], path: Path | str) -> None:
    """Write what `personalwab_results` made, whole or not at all."""
    with replacing(Path(path)) as temporary:
        # Escaped, since a model can write what no encoding holds, such as half a surrogate pair.
        temporary.write_text(json.dumps(results, indent=2, allow_nan=False), encoding="ascii")


def personalwab_statistics(results: Iterable[Plain]) -> dict[str, dict[str, float]]:
    """The means by task type and ``overall``, from the file's items, as the benchmark takes them.

    Of a task's calls of the right tool the best counts; a task without one counts 0.
    """
    rows: dict[str, list[tuple[int, float, float]]] = {
        kind: [] for kind in (*TASK_TYPES, "overall")
    }
    for result in results:
        if "info" not in result:
            continue  # the summary
        right = [
            score
            for action, score in zip(result["action_acc"], result["res_acc"], strict=True)
            if action == 1
        ]
        steps = len(result["info"]["usage"]["completion_tokens"])
        row = (steps, float(bool(right)), max(right, default=0.0))
        rows[result["info"]["task"]["type"]].append(row)
        rows["overall"].append(row)
    names = ("avg_interaction_times", "avg_action_acc", "avg_res_acc")
    return {
        kind: {
            "total_count": len(own),
            **{
                name: sum(row[column] for row in own) / len(own) if own else 0
                for column, name in enumerate(names)
            },
        }
        for kind, own in rows.items()
    }


def _result(
    place: int,
    task: ShoppingTask,
    scored: Plain,
    similarity: Similarity | None,
    system: str,
    trial: int,
) -> dict[str, Any]:
    steps = scored["episode"]["steps"]
    calls = [step["call"] for step in steps if step["call"] is not None]
    acted = [step for step in steps if step["call"] and _is_action(step)]
    usage = {
        "completion_tokens": [step["completion_tokens"] for step in steps],
        "prompt_tokens": [step["prompt_tokens"] for step in steps],
        "total_tokens": [step["completion_tokens"] + step["prompt_tokens"] for step in steps],
        "completion_price": 0,
        "prompt_price": 0,
        "total_price": 0,
    }
    right = right_tool(task.type)
    return {
        "task_id": place,
        "action_acc": [int(step["call"]["name"] == right) for step in acted],
        "res_acc": _scores(task, acted, scored["result"], similarity),
        "info": {
            "task": {
                "user_id": task.user_id,
                "task": task.task,
                "type": task.type,
                "timestamp": task.timestamp,
                "target": task.target.asin,
            },
            "actions": [
                {"name": call["name"], "arguments": call["arguments"]}
                for call in calls
                if call["name"] != RESPOND
            ],
            "user_cost": 0,
            "usage": usage,
        },
        "traj": _trajectory(task, scored["episode"], system),
        "trial": trial,
    }


def _is_action(step: Plain) -> bool:
    return step["error"] is None and step["call"]["name"] in ACTION_TOOLS.values()


def _scores(
    task: ShoppingTask,
    acted: Sequence[Plain],
    best: float | None,
    similarity: Similarity | None,
) -> list[float]:
    """The result accuracy of each call of an action tool."""
    if task.type != "review":
        return [
            rank_score(step["value"], task.target.asin) if isinstance(step["value"], list) else 0.0
            for step in acted
        ]
    reviews = [step["call"]["name"] == ACTION_TOOLS["review"] for step in acted]
    if sum(reviews) == 1 and best is not None:
        return [float(best) if review else 0.0 for review in reviews]
    if any(reviews) and similarity is None:
        raise TrimtabError(
            f"the task {task.id!r} has {sum(reviews)} reviews, which can be scored by a "
            "similarity alone; give one"
        )
    return [
        float(similarity(task.target.review.text, step["call"]["arguments"]["review"]))
        if review and similarity is not None
        else 0.0
        for step, review in zip(acted, reviews, strict=True)
    ]


def _trajectory(task: ShoppingTask, episode: Plain, system: str) -> list[dict[str, Any]]:
    """The messages, as the benchmark's function-calling agent keeps them."""
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": f"USER {task.user_id}: {episode['request']}"})
    for number, step in enumerate(episode["steps"]):
        call = step["call"]
        if call is None or call["name"] == RESPOND:
            said = step["text"] if call is None else call["arguments"].get("content", "")
            messages.append({"role": "assistant", "content": said})
            messages.append({"role": "user", "content": step["content"]})
            continue
        arguments = json.dumps(call["arguments"])
        messages.append(
            {
                "role": "assistant",
                "function_call": f"Function(arguments={arguments!r}, name={call['name']!r})",
            }
        )
        messages.append(
            {
                "role": "tool",
                "tool_call_id": f"call_{number}",
                "name": call["name"],
                "content": step["content"],
            }
        )
    return messages
