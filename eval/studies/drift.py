"""When people change: how fast each way to personalize follows.

Bazaar users whose idioms mean the other thing from the middle of their training tasks on. The
requests after the change are asked one after the other, each with whatever a method has learned by
then: steering with every earlier request's entry; the same where older entries fade; steering with
what was known at the change; if wanted, an intervention trained anew on all earlier requests;
retrieval of the nearest. What an idiom has come to mean can be known from its second use since the
change on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...agent.loop.memory import remembered_lines
from ...agent.shop.pairs import tool_choice_pairs
from ...agent.shop.past_requests import past_request
from ...agent.shop.settings import TOOL_CHOICE
from ...envs.shop.request import request_text
from ...envs.shop.scoring import right_tool
from ...envs.worlds.bazaar.requests import idiom_of
from ...steering.dictionaries.building import build_dictionaries
from ...steering.vectors.steering import Steering
from ..figures import new_figure
from ..methods.retrieval import RememberedEncoder, nearest
from ..statistics.intervals import holm, mean_interval, paired_difference
from ..statistics.notes import interval_note, p_note
from ..training.examples import Example
from ..training.loop import train
from ..training.options import TrainingOptions
from ..training.trainable import LowRankStack
from .by_user import chosen_by_user
from .finding import Cell, Finding
from .tool_choices import SteeredTask, chosen_tools, study_configuration

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ...envs.shop.environment import ShopEnvironment
    from ...envs.shop.records import ShoppingTask
    from ...steering.contrast.pairs import ContrastPair
    from ...steering.dictionaries.settings import SteeringSettings
    from ...steering.model import SteeredModel
    from ..statistics.intervals import Estimate

UNSTEERED = "unsteered"
LEARNING = "steered, every request learned at once"
FADING = "the same, older entries fading"
FROZEN = "steered, as known at the change"
TRAINED = "trained anew on every earlier request"
RETRIEVAL = "retrieval, 3 nearest requests"
METHODS = (UNSTEERED, LEARNING, FADING, FROZEN, TRAINED, RETRIEVAL)

_SHOWN = 3
# Of PerFit's second stage by itself: a few requests, until they are known well. No other numbers
# were tried.
_DEPTH, _RANK = 0.6, 4
_TRAINING = TrainingOptions(learning_rate=0.01, epochs=8, batch_size=4, patience=0)
_OFTEN = 2  # so many earlier uses, or more, are told together


def drift_study(
    model: SteeredModel,
    shop: ShopEnvironment,
    *,
    settings: SteeringSettings = TOOL_CHOICE,
    half_life: float = 1.0,
    trained: bool = False,
    folder: Path,
    doing: Callable[[str], None] = lambda what: None,
) -> tuple[list[Finding], Figure]:
    """How often the right tool is likeliest, by how often an idiom has had its new meaning.

    Only requests in an idiom count: the others say plainly what is meant.

    Args:
        model: The model.
        shop: Of a bazaar whose users flip.
        settings: How requests are steered.
        half_life: After how many later ones an entry's weight has halved where entries fade.
        trained: Also train an intervention for each request, which takes most of the time.
        folder: The study's; a study that was broken off resumes in it.
        doing: Told what is under way.

    Returns:
        The accuracy by earlier uses of the same idiom since the change, with its figure, and how
        far apart the methods are over the requests whose idiom had such a use.
    """
    timelines = _timelines(shop)
    fading = replace(settings, half_life=half_life)
    encoder = RememberedEncoder(model.encoder)

    def ask(user: str) -> list[list[str | int | bool]]:
        """Method, earlier uses of the idiom since the change, was the right tool chosen."""
        doing(f"asking user {list(timelines).index(user) + 1} of {len(timelines)}")
        own = timelines[user]
        pairs = tool_choice_pairs(shop, own)
        [dictionary] = build_dictionaries(
            model,
            pairs,
            layers=settings.layers(model),
            sites=settings.sites,
            keys=settings.keys,
            rejected="likeliest",  # the model's own wrong choice, read in the pass that finds it
        ).values()
        tasks = after_change(own)
        interventions = _trained(model, pairs[user], tasks) if trained else [None] * len(tasks)
        asked: list[tuple[str, int, SteeredTask]] = []
        uses: Counter[int | None] = Counter()
        for task, intervention in zip(tasks, interventions, strict=True):
            idiom = idiom_of(request_text(task))
            used = uses[idiom]
            uses[idiom] += 1
            query = encoder.encode([request_text(task)])[0]
            for method, how, before in (
                (LEARNING, settings, task.timestamp),
                (FADING, fading, task.timestamp),
                (FROZEN, settings, changed_at(own)),
            ):
                steering = how.select(dictionary, query, before=before)
                asked.append((method, used, SteeredTask(task, steering)))
            if trained:
                asked.append((TRAINED, used, SteeredTask(task, intervention)))
            asked.append((UNSTEERED, used, SteeredTask(task)))
            memory = _nearest(shop, own, task, encoder)
            asked.append((RETRIEVAL, used, SteeredTask(task, memory=memory)))
        tools = chosen_tools(model, shop, [each for _, _, each in asked])
        return [
            [method, used, tool == right_tool(each.task.type)]
            for (method, used, each), tool in zip(asked, tools, strict=True)
        ]

    configuration = study_configuration("drift", model, shop) | {
        "steering": asdict(settings),
        "half_life": half_life,
    }
    if trained:
        configuration["trained"] = {"depth": _DEPTH, "rank": _RANK, **asdict(_TRAINING)}
    chosen = chosen_by_user(folder, configuration, list(timelines), ask)
    scores: dict[tuple[str, int], list[tuple[float, str]]] = {}
    knowable: dict[str, list[tuple[float, str]]] = {}
    for user, choices in chosen.items():
        for method, used, right in choices:
            scores.setdefault((method, min(used, _OFTEN)), []).append((float(right), user))
            if used:
                knowable.setdefault(method, []).append((float(right), user))
    rates = {place: _rate(own) for place, own in scores.items()}
    found = [_finding(rates, len(chosen))]
    if knowable:
        found.append(_differences(knowable, len({user for _, user in knowable[LEARNING]})))
    return found, _figure(rates)


def _timelines(shop: ShopEnvironment) -> dict[str, list[ShoppingTask]]:
    """Each user's tasks, training and test ones, in the order of time."""
    timelines: dict[str, list[ShoppingTask]] = {}
    for task in sorted((*shop.world.train, *shop.world.test), key=lambda task: task.timestamp):
        timelines.setdefault(task.user_id, []).append(task)
    return timelines


def changed_at(tasks: Sequence[ShoppingTask]) -> int:
    """The time of a user's first task after the change: that in the middle of the training ones."""
    train = [task for task in tasks if task.id.startswith("train")]
    return train[len(train) // 2].timestamp


def after_change(tasks: Sequence[ShoppingTask]) -> list[ShoppingTask]:
    """A user's requests in an idiom from the change on, in the order of time."""
    change = changed_at(tasks)
    return [
        task
        for task in tasks
        if task.timestamp >= change and getattr(task, "wording", "") == "ambiguous"
    ]


def _trained(
    model: SteeredModel,
    pairs: Sequence[ContrastPair],
    asked: Sequence[ShoppingTask],
) -> list[Steering | None]:
    """For each request an intervention trained on all before it; all are trained side by side."""
    # One pair for each wrong tool: the right one is the same in all.
    past = {pair.sample_id: (pair.timestamp, model.tokenized(pair.positive)) for pair in pairs}
    examples = [
        Example(owner, right.prompt, right.answer)
        for owner, task in enumerate(asked)
        for timestamp, right in past.values()
        if timestamp < task.timestamp
    ]
    if not examples:
        return [None] * len(asked)
    stack = LowRankStack(
        (model.layer_at(_DEPTH),),
        model.hf.config.get_text_config().hidden_size,
        _RANK,
        "answer",
        owners=len(asked),
        device=model.device,
    )
    train(model, stack, examples, _TRAINING)
    return [
        Steering.by_stages([stack.stage(owner)], model.fingerprint) for owner in range(len(asked))
    ]


def _nearest(
    shop: ShopEnvironment,
    tasks: Sequence[ShoppingTask],
    task: ShoppingTask,
    encoder: RememberedEncoder,
) -> tuple[str, ...]:
    past = [each for each in tasks if each.timestamp < task.timestamp]
    texts = [request_text(each) for each in past]
    order = nearest(texts, request_text(task), "encoder", encoder)[:_SHOWN]
    # What is nearest comes to stand next to the request.
    return tuple(remembered_lines([past_request(shop, past[n]) for n in reversed(order)]))


def _rate(scores: Sequence[tuple[float, str]]) -> Estimate:
    """How often the right tool was chosen, from each request's score and user."""
    return mean_interval(
        [right for right, _ in scores], [user for _, user in scores], bounds=(0, 1)
    )


def _finding(rates: Mapping[tuple[str, int], Estimate], users: int) -> Finding:
    rows: list[tuple[Cell, ...]] = [
        (method, _times(used), own.mean, own.low, own.high, own.values)
        for (method, used), own in sorted(
            rates.items(), key=lambda item: (METHODS.index(item[0][0]), item[0][1])
        )
    ]
    return Finding(
        "drift",
        "the right tool, by how often the idiom has been used since the user changed",
        ("method", "used before", "accuracy", "low", "high", "requests"),
        tuple(rows),
        (f"{users} users; {interval_note([users])}. The tool is the likeliest start of a call.",),
    )


def _differences(scores: Mapping[str, Sequence[tuple[float, str]]], users: int) -> Finding:
    """Learning at once less each other method, request by request."""
    own = [right for right, _ in scores[LEARNING]]
    whose = [user for _, user in scores[LEARNING]]
    others = [method for method in METHODS if method in scores and method != LEARNING]
    apart = [
        paired_difference(own, [right for right, _ in scores[method]], whose) for method in others
    ]
    corrected = holm([each.p_value for each in apart])
    means = {method: _rate(each) for method, each in scores.items()}
    rows: list[tuple[Cell, ...]] = [
        (LEARNING, means[LEARNING].mean, means[LEARNING].low, means[LEARNING].high, *[None] * 4),
        *(
            (
                method, means[method].mean, means[method].low, means[method].high,
                each.mean, each.low, each.high, p,
            )
            for method, each, p in zip(others, apart, corrected, strict=True)
        ),
    ]  # fmt: skip
    return Finding(
        "drift-differences",
        "requests in an idiom that has been used since the change, and how far "
        f"{LEARNING}, is over the others",
        ("method", "accuracy", "low", "high", "over it by", "low ", "high ", "p"),
        tuple(rows),
        (
            f"{len(own)} requests of {users} users; {interval_note([users])}. "
            f"{p_note([users], 'for the methods compared')}.",
        ),
    )


def _times(used: int) -> str:
    return f"{used} or more" if used == _OFTEN else str(used)


def _figure(rates: Mapping[tuple[str, int], Estimate]) -> Figure:
    figure, [panel] = new_figure(1, width=6, height=3.6)
    for method in METHODS:
        places = sorted(place for name, place in rates if name == method)
        if not places:
            continue
        own = [rates[method, place] for place in places]
        [drawn] = panel.plot(places, [each.mean for each in own], marker="o", label=method)
        low, high = [each.low for each in own], [each.high for each in own]
        panel.fill_between(places, low, high, alpha=0.1, color=drawn.get_color())
    panel.set_xticks(range(_OFTEN + 1), [_times(used) for used in range(_OFTEN + 1)])
    panel.set_xlabel("earlier uses of the idiom since the change")
    panel.set_ylabel("function accuracy")
    panel.set_ylim(0, 1)
    panel.legend(fontsize=8, frameon=False)
    return figure
