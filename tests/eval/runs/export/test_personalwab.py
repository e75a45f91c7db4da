"""A shopping method as PersonalWAB's own result file."""

import json
from dataclasses import replace

import pytest

from trimtab.agent.calling.calls import ToolCall
from trimtab.agent.loop.episode import Episode, Step
from trimtab.agent.loop.prompt import SYSTEM_PROMPT, conversation_prompt
from trimtab.envs.shop.environment import shop_schemas
from trimtab.errors import TrimtabError
from trimtab.eval.runs.export import export_run
from trimtab.eval.runs.folder import run_folder
from trimtab.eval.runs.record import read_run
from trimtab.eval.shop.record import episode_record, shop_sample
from trimtab.tools.shop.toolkit import ACTION_TOOLS


@pytest.fixture
def shop_run(world, tmp_path):
    """Two methods in the corner shop: one calls the right tools, one always searches."""
    methods = {"zero-shot": lambda task: "search", "fints": lambda task: task.type}
    configuration = {
        "task": "shop",
        "methods": {method: {"method": method} for method in methods},
        "world": {"name": world.name, "fingerprint": world.fingerprint},
    }
    with run_folder(tmp_path / "run", configuration) as folder:
        for method, kind in methods.items():
            for task in world.test:
                call = ToolCall(ACTION_TOOLS[kind(task)], {"review": "a lamp"}, "call_0")
                step = Step(call, "", "1. B-lamp", ["B-mug", "B-lamp"], None, (), 9, 3, 1, 0.1)
                episode = Episode(task.id, task.user_id, task.task, (), (), (step,), "done")
                sample = shop_sample(world, task)
                record = episode_record(method, sample, task, episode, lambda one, other: 0.5)
                folder.append(record.to_json())
    return read_run(tmp_path / "run")


def test_a_method_is_a_file_whose_means_are_those_of_the_run(shop_run, world):
    unsteered, steered = export_run(shop_run, "personalwab", world=lambda: world)
    [summary, *tasks] = json.loads(steered.read_text())
    assert summary["run_args"]["method"] == "fints"
    assert summary["results"]["overall"]["avg_action_acc"] == 1.0
    assert summary["results"]["overall"]["avg_res_acc"] == pytest.approx(0.5)
    assert [task["task_id"] for task in tasks] == list(range(9))
    assert tasks[0]["traj"][0]["role"] == "system"
    [summary, *_] = json.loads(unsteered.read_text())
    assert summary["results"]["overall"]["avg_action_acc"] == pytest.approx(1 / 3)


def test_another_world_or_no_shop_is_refused(shop_run, world, text_run):
    other = replace(world, test=world.test[:-1])
    with pytest.raises(TrimtabError, match="played in 'corner shop'"):
        export_run(shop_run, "personalwab", world=lambda: other)
    assert not (shop_run.path / "personalwab").exists()
    with pytest.raises(TrimtabError, match="a run of 'headlines'"):
        export_run(read_run(text_run()), "personalwab", world=lambda: world)
    with pytest.raises(TrimtabError, match="give the world"):
        export_run(shop_run, "personalwab")


@pytest.mark.parametrize("prompting", ["call", "react"])
@pytest.mark.parametrize("track", ["single", "multi"])
def test_the_system_message_is_that_of_track_and_prompting(shop_run, world, track, prompting):
    asked = {"track": track, "prompting": prompting, "steps": 7}
    run = replace(shop_run, configuration={**shop_run.configuration, **asked})
    [_, first, *_] = json.loads(export_run(run, "personalwab", world=lambda: world)[0].read_text())
    [system] = [turn["content"] for turn in first["traj"] if turn["role"] == "system"]
    prompt = conversation_prompt(7) if track == "multi" else SYSTEM_PROMPT
    assert system.startswith(prompt)
    assert ("Thought:" in system) == (prompting == "react")
    # ReAct tells the tools in the message, those for talking only where there is a user.
    named = [name for name in (*ACTION_TOOLS.values(), "respond", "stop") if f'"{name}"' in system]
    expected = {"single": 3, "multi": 5}[track] if prompting == "react" else 0
    assert len(named) == expected


def test_react_tells_the_tools_that_a_file_added(shop_run, world):
    added = {"type": "function", "function": {"name": "weather", "description": "Tells it."}}
    asked = {"prompting": "react", "schemas": [*shop_schemas(world), added]}
    run = replace(shop_run, configuration={**shop_run.configuration, **asked})
    [_, first, *_] = json.loads(export_run(run, "personalwab", world=lambda: world)[0].read_text())
    assert '"name": "weather"' in first["traj"][0]["content"]
