"""From a plan to the task that it says: data, model, users' dictionaries; and from a run's folder.

To add a kind of task: write its plan and its task, and name both here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import TrimtabError
from .calls.plan import CallPlan
from .calls.spectrum.plan import SpectrumPlan
from .shop.plan import ShopPlan
from .texts.plan import TextPlan

if TYPE_CHECKING:
    from ..steering.model import SteeredModel
    from .runs.record import Record
    from .task import Task

Plan = TextPlan | ShopPlan | CallPlan | SpectrumPlan
"""What a run is made of, as plain data."""

Loads = Callable[[str], "SteeredModel"]
"""Loads a model by its name."""

Tells = Callable[[str], None]
"""Told what is under way, or what was found, in a line."""

Scores = Callable[["Record"], "dict[str, float | None]"]
"""A record's scores, worked out anew from its output."""

_LIVE_A_ROW = 3
"""Episodes under way for each answer that is decoded, so that others wait when one has ended."""


def plan_of(configuration: Mapping[str, Any]) -> Plan:
    """The plan of the run whose configuration this is.

    Raises:
        TrimtabError: It is no run of a task, or says too little.
    """
    task = configuration.get("task")
    if task == "shop":
        return ShopPlan.of(configuration)
    if task == "toolspectrum":
        return SpectrumPlan.of(configuration)
    return CallPlan.of(configuration) if task == "bfcl" else TextPlan.of(configuration)


@contextmanager
def opened(
    plan: Plan,
    *,
    load: Loads | None = None,
    batch_size: int = 48,
    cache: Path | None = None,
    tell: Tells = lambda line: None,
    doing: Tells = lambda what: None,
) -> Iterator[Task]:
    """The plan's task, with its model loaded and its data read.

    Args:
        plan: The plan.
        load: Loads a model; None is ``SteeredModel.from_pretrained``.
        batch_size: At most this many rows at once.
        cache: Where what is prepared is kept; None is trimtab's own folder.
        tell: Told what the data is.
        doing: Told what is under way.

    Raises:
        TrimtabError: Data that is missing or broken, or a model that cannot be loaded.
    """
    if batch_size < 1:
        raise TrimtabError(f"expected a batch of at least 1 row, got {batch_size}")
    if load is None:
        from ..steering.model import SteeredModel

        load = SteeredModel.from_pretrained
    if isinstance(plan, TextPlan):
        yield _texts(plan, load, batch_size, cache, tell, doing)
    elif isinstance(plan, ShopPlan):
        with _shop(plan, load, batch_size, cache, doing) as task:
            yield task
    elif isinstance(plan, SpectrumPlan):
        yield _spectrum(plan, load, batch_size, cache, doing)
    else:
        yield _calls(plan, load, batch_size, doing)


def _texts(
    plan: TextPlan, load: Loads, batch_size: int, cache: Path | None, tell: Tells, doing: Tells
) -> Task:
    from .texts.task import TextTask

    dataset = plan.dataset()
    tell(dataset.described())
    doing(f"loading {plan.model}")
    return TextTask(plan, load(plan.model), dataset, cache=cache, batch_size=batch_size)


@contextmanager
def _shop(
    plan: ShopPlan, load: Loads, batch_size: int, cache: Path | None, doing: Tells
) -> Iterator[Task]:
    from .shop.opening import added_tools, given_by, open_shop
    from .shop.selection import pick_tasks
    from .shop.task import ShopTask, with_a_lender

    shop = open_shop(plan.world)
    tasks = pick_tasks(shop.world, plan.episodes, plan.seed, plan.users, plan.spread)
    with added_tools(shop, Path(plan.tools) if plan.tools else None):
        doing(f"loading {plan.model}")
        model = load(plan.model)
        user = plan.simulator
        if user is not None and user.kind == "model" and user.model:
            user = replace(user, loaded=load(user.model))
        doing("opening the shop")
        shop.ready()
        steered = with_a_lender(shop, tasks)
        yield ShopTask(
            model,
            shop,
            tasks,
            dictionaries=given_by(model, shop, steered, plan.dictionaries, plan.store),
            user=user,
            prompting=plan.prompting,
            decode=plan.decode,
            steps=plan.steps,
            temperature=plan.temperature,
            seed=plan.seed,
            plan=plan.configuration(),
            cache=cache,
            max_live=batch_size if batch_size == 1 else _LIVE_A_ROW * batch_size,
            batch_size=batch_size,
        )


def _calls(plan: CallPlan, load: Loads, batch_size: int, doing: Tells) -> Task:
    from ..envs.bfcl.cases import load_bfcl
    from .calls.task import CallTask

    data = load_bfcl(plan.data).chosen(count=plan.tests, seed=plan.seed)
    doing(f"loading {plan.model}")
    return CallTask(
        load(plan.model),
        data,
        plan=plan.configuration(),
        max_new_tokens=plan.max_new_tokens,
        batch_size=batch_size,
    )


def _spectrum(
    plan: SpectrumPlan, load: Loads, batch_size: int, cache: Path | None, doing: Tells
) -> Task:
    from ..envs.toolspectrum.items import load_toolspectrum
    from .calls.spectrum.task import SpectrumTask

    data = load_toolspectrum(plan.data)
    doing(f"loading {plan.model}")
    return SpectrumTask(load(plan.model), data, plan, cache=cache, batch_size=batch_size)


def summary_of(name: str, records: Sequence[Record]) -> Mapping[str, Any]:
    """What the summary of a task's run holds besides what all runs' have."""
    if name == "shop":
        from .shop.summary import shop_summary

        return shop_summary(records)
    if name == "bfcl":
        from .calls.scoring import METRICS
        from .calls.summary import call_summary

        return call_summary(records, METRICS)
    if name == "toolspectrum":
        from .calls.spectrum.scoring import METRICS as SPECTRUM_METRICS
        from .calls.summary import scores_by_category

        # Of calls written up to the name, arguments have no score.
        known = {name for record in records for name in record.scores}
        return scores_by_category(records, [name for name in SPECTRUM_METRICS if name in known])
    return {}


def scorer_of(configuration: Mapping[str, Any]) -> Scores:
    """What scores a run's records anew, without the model that answered.

    Raises:
        TrimtabError: It is no run of a task, or its data is not there any more.
    """
    plan = plan_of(configuration)
    if isinstance(plan, TextPlan):
        return _text_scores(plan)
    if isinstance(plan, SpectrumPlan):
        return _spectrum_scores(plan)
    return _shop_scores(plan) if isinstance(plan, ShopPlan) else _call_scores(plan)


def _text_scores(plan: TextPlan) -> Scores:
    from .texts.record import scores

    kind = plan.running_task()
    return lambda record: (
        scores(kind, record.output, record.gold, generated=plan.generate)
        | {
            # Likelihoods stay as they were measured.
            name: value
            for name, value in record.scores.items()
            if name == "log-likelihood"
        }
    )


def _shop_scores(plan: ShopPlan) -> Scores:
    from ..steering.dictionaries.encoder import load_encoder
    from .shop.opening import open_shop
    from .shop.record import episode_of, episode_scores

    tasks = {task.id: task for task in open_shop(plan.world).world.test}

    def scores(record: Record) -> dict[str, float | None]:
        episode, task = episode_of(record), tasks.get(record.drawn_from)
        if episode is None or task is None:
            raise TrimtabError(
                f"{record.sample_id} has no episode or is no task of {plan.world}; only whole "
                "episodes in the world that was played are scored anew"
            )
        return episode_scores(task, episode, load_encoder().similarity)

    return scores


def _spectrum_scores(plan: SpectrumPlan) -> Scores:
    from ..agent.calling.calls import ToolCall
    from ..envs.toolspectrum.items import load_toolspectrum
    from .calls.spectrum.scoring import spectrum_scores
    from .calls.spectrum.task import offered_apps

    data = load_toolspectrum(plan.data)
    items = {item.id: item for item in data.items}

    def scores(record: Record) -> dict[str, float | None]:
        if record.sample_id not in items:
            raise TrimtabError(f"{plan.data} has no item {record.sample_id!r}")
        item = items[record.sample_id]
        calls = [ToolCall(made["name"], made["arguments"]) for made in record.detail["calls"]]
        return spectrum_scores(
            calls,
            item,
            data,
            offered_apps(item, data, plan),
            name_only=plan.written == "name",
        )

    return scores


def _call_scores(plan: CallPlan) -> Scores:
    from ..envs.bfcl.cases import load_bfcl
    from .calls.task import scores_of_calls

    data = load_bfcl(plan.data).chosen(count=plan.tests, seed=plan.seed)
    cases = {case.id: case for case in data.cases}

    def scores(record: Record) -> dict[str, float | None]:
        if record.sample_id not in cases:
            raise TrimtabError(f"{plan.data} has no case {record.sample_id!r}")
        return scores_of_calls(record, cases[record.sample_id])

    return scores
