"""A plan: which task, whose data, which methods, and how answers are made; from TOML or flags."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...envs.texts.dataset import TextDataset, latest_history, select_users
from ...errors import TrimtabError
from ...steering.weights.known import DEFAULT_MODEL
from ..methods.registry import Named, methods_of, parse_methods, with_controls
from .answering import Decoding
from .kinds import OTHER_TASKS, WritingTask, get_task

if TYPE_CHECKING:
    from ...steering.model import SteeredModel

DEFAULT_METHODS = "zero-shot,rag,fints"
_LIKELIHOOD = "log-likelihood"


@dataclass(frozen=True)
class TextPlan:
    """What is compared; everything that decides the results.

    Attributes:
        task: The task's name.
        methods: In the order of tables, controls included; the first is the baseline.
        model: A model's name, hub id or folder.
        data: The benchmark's folder or file; empty is the built-in world.
        users: At most this many users; None is as many as the published comparisons take.
        minimum_history: How many past samples each must have; None is the task's own.
        history: At most this many of a user's latest past samples count, for every method; None
            is all.
        tests: At most this many of a user's test samples; None is all.
        seed: Of the choice of users, of draws, and of who lends to whom.
        generate: Whether the model answers; without, the likelihood of the users' own texts is
            the only score.
        temperature: 0 takes the most likely token; above, tokens are drawn.
        top_p: Draw from the most likely tokens that together have this probability.
        repeats: How often each sample is answered, with other draws.
        max_new_tokens: At most this many tokens an answer; None is the task's own.
        context: Tokens of prompt and answer together; None is the model's own limit.
    """

    task: str
    methods: tuple[Named, ...]
    model: str = DEFAULT_MODEL
    data: str = ""
    users: int | None = None
    minimum_history: int | None = None
    history: int | None = None
    tests: int | None = None
    seed: int = 0
    generate: bool = True
    temperature: float = 0.0
    top_p: float = 1.0
    repeats: int = 1
    max_new_tokens: int | None = None
    context: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be run.

        Raises:
            TrimtabError: An unknown task, or a value out of its range.
        """
        get_task(self.task)
        counts = {
            name: getattr(self, name)
            for name in ("users", "history", "tests", "repeats", "max_new_tokens", "context")
        }
        for name, count in counts.items():
            if count is not None and count < 1:
                raise TrimtabError(f"expected {name} of at least 1, got {count}")
        if not 0 <= self.temperature < math.inf or not 0 < self.top_p <= 1:
            raise TrimtabError(
                "expected a finite temperature of at least 0 and top_p above 0 and up to 1, got "
                f"{self.temperature} and {self.top_p}"
            )
        if self.repeats > 1 and not self.temperature:
            raise TrimtabError(
                f"{self.repeats} repeats at temperature 0 would all be equal; give a temperature "
                "above 0"
            )

    @property
    def baseline(self) -> str:
        """The label of the method that the others are compared with."""
        return self.methods[0].label

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the scores, the main one first."""
        return get_task(self.task).metrics if self.generate else (_LIKELIHOOD,)

    def decoding(self, batch_size: int) -> Decoding:
        """How answers are made."""
        return Decoding(
            generate=self.generate,
            max_new_tokens=self.max_new_tokens or get_task(self.task).max_new_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            batch_size=batch_size,
        )

    def running_task(self) -> WritingTask:
        """The task, with this plan's room for an answer."""
        task = get_task(self.task)
        return replace(task, max_new_tokens=self.max_new_tokens or task.max_new_tokens)

    def dataset(self) -> TextDataset:
        """The chosen users with as much of their past and of their tests as counts.

        Raises:
            TrimtabError: The data is missing or broken, or no user has enough of a past.
        """
        task = get_task(self.task)
        whole = task.load(Path(self.data).expanduser() if self.data else None, self.seed)
        least = task.minimum_history if self.minimum_history is None else self.minimum_history
        count = task.users if self.users is None else self.users
        chosen = select_users(whole, count, minimum_history=least, seed=self.seed)
        past = latest_history(chosen, self.history)
        users = tuple(replace(user, tests=user.tests[: self.tests]) for user in past.users)
        return replace(past, users=users)

    def configuration(self, model: SteeredModel, dataset: TextDataset) -> dict[str, Any]:
        """Plain data that tells this plan from another one, and that ``of`` reads again."""
        plain = dataclasses.asdict(replace(self, methods=()))
        del plain["methods"], plain["task"], plain["model"], plain["data"]
        return {
            "task": self.task,
            "metrics": list(self.metrics),
            "methods": {named.label: named.to_json() for named in self.methods},
            "baseline": self.baseline,
            "model": {
                **model.configuration(),
                "name": self.model,
                "encoder": model.encoder.name,
            },
            "data": {
                "name": dataset.name,
                "path": str(Path(self.data).expanduser().resolve()) if self.data else "",
                "fingerprint": dataset.fingerprint,
                "users": len(dataset.users),
                "history": dataset.samples,
                "tests": dataset.tests,
            },
            **plain,
            "max_new_tokens": self.running_task().max_new_tokens,
        }

    @classmethod
    def of(cls, configuration: Mapping[str, Any]) -> TextPlan:
        """The plan whose ``configuration`` this is.

        Raises:
            TrimtabError: It is not one.
        """
        try:
            values = {
                field.name: configuration[field.name]
                for field in dataclasses.fields(cls)
                if field.name not in ("task", "methods", "model", "data")
            }
            return cls(
                task=configuration["task"],
                methods=tuple(methods_of(configuration["methods"])),
                model=configuration["model"]["name"],
                data=configuration["data"]["path"],
                **values,
            )
        except (KeyError, TypeError) as error:
            raise TrimtabError(
                f"this is no run of `trimtab eval` on texts but of {configuration.get('task')!r} "
                f"(its run.json has no {error}); resume such a run by its own command and --out"
            ) from error


def make_plan(
    given: Mapping[str, Any], *, file: Path | None = None, controls: bool = True
) -> TextPlan:
    """A plan from flags, on top of a TOML file's if there is one.

    Args:
        given: Fields of ``TextPlan``; None is one that was not given. ``methods`` is a line as
            ``parse_methods`` reads it; ``settings`` a file for all steered methods that name none.
        file: A TOML file with the same fields, its methods as a line or as ``[methods.LABEL]``
            tables. Its ``data`` is relative to its own folder.
        controls: Whether steered methods bring their controls.

    Raises:
        TrimtabError: No such file or field, no task, or as ``TextPlan``.
    """
    table = _read(file) if file else {}
    table |= {name: value for name, value in given.items() if value is not None}
    known = {field.name for field in dataclasses.fields(TextPlan)} | {"settings", "controls"}
    unknown = sorted(set(table) - known)
    if unknown:
        raise TrimtabError(
            f"{file or 'plan'}: unknown field {unknown[0]!r}; expected {', '.join(sorted(known))}"
        )
    settings = table.pop("settings", None)
    wanted = table.pop("controls", True)
    if not isinstance(wanted, bool):
        raise TrimtabError(f"expected controls as true or false, got {wanted!r}")
    controls = wanted and controls
    if "task" not in table:
        raise TrimtabError("expected a task; `trimtab eval --help` lists them")
    if table["task"] in OTHER_TASKS:
        raise TrimtabError(
            f"the task {table['task']} has flags of its own and is in no file of texts; see "
            f"`trimtab eval {table['task']}`"
        )
    asked = table.pop("methods", DEFAULT_METHODS)
    if not isinstance(asked, str | Mapping):
        raise TrimtabError(
            f"expected methods as one line ({DEFAULT_METHODS!r}) or as tables ([methods.LABEL]), "
            f"got {asked!r}"
        )
    methods = (
        parse_methods(asked, settings) if isinstance(asked, str) else methods_of(asked, settings)
    )
    table["methods"] = tuple(with_controls(methods) if controls else methods)
    return _checked(table)


def _read(file: Path) -> dict[str, Any]:
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TrimtabError(f"there is no plan file at {file}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TrimtabError(f"{file} is not a TOML file: {error}") from error
    for name in ("data", "settings"):
        if table.get(name):
            table[name] = str(file.parent / Path(str(table[name])).expanduser())
    return table


def _checked(table: dict[str, Any]) -> TextPlan:
    """A plan whose values have the fields' types.

    Raises:
        TrimtabError: One has not.
    """
    expected = {"task": str, "model": str, "data": str, "generate": bool}
    for name, value in table.items():
        kind = expected.get(name, float if name in ("temperature", "top_p") else int)
        if name == "methods":
            continue
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (isinstance(value, kind) or (kind is float and whole)) or (
            kind is int and not whole
        ):
            raise TrimtabError(f"expected {name} as {kind.__name__}, got {value!r}")
    return TextPlan(**table)
