"""What ``trimtab study`` does: opens a setting, runs one study, shows and keeps what it found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ...errors import TrimtabError
from ...eval.figures import check_plots
from ...eval.studies.finding import Finding, keep, show
from ...eval.studies.setting import Setting
from ...files import home
from ..console.progress import phases, progress_bars
from ..loading import BY_HARDWARE, Placement, load_model

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Found = tuple[Finding | list[Finding], "Figure"]


def study_command(
    kind: str,
    run: Callable[[Setting], Found],
    given: Mapping[str, Any],
    *,
    study: Path | None = None,
    controls: bool = True,
    placement: Placement = BY_HARDWARE,
    out: Path | None = None,
    batch_size: int = 48,
    console: Console | None = None,
) -> Sequence[Finding]:
    """Run one study.

    Args:
        kind: Its name.
        run: From a setting to tables and a figure.
        given: Fields of a ``Study``; None is one that was not given.
        study: A TOML file with the same fields.
        controls: Whether steered methods bring their controls.
        placement: In which data type and on which devices the model is loaded.
        out: The folder.
        batch_size: At most this many rows at once.
        console: Where to print.

    Raises:
        TrimtabError: Anything that a person can put right.
        KeyboardInterrupt: After Ctrl-C; the same command with the same folder goes on.
    """
    with opened(
        given,
        kind=kind,
        study_file=study,
        controls=controls,
        placement=placement,
        out=out,
        batch_size=batch_size,
        console=console,
    ) as (setting, screen):
        found, figure = run(setting)
    findings = found if isinstance(found, list) else [found]
    written = [path for finding in findings[1:] for path in keep(finding, None, setting.folder)]
    written = keep(findings[0], figure, setting.folder) + written
    show(findings, written, screen)
    return findings


@contextmanager
def opened(
    given: Mapping[str, Any],
    *,
    kind: str,
    study_file: Path | None = None,
    controls: bool = True,
    placement: Placement = BY_HARDWARE,
    out: Path | None = None,
    batch_size: int = 48,
    console: Console | None = None,
) -> Iterator[tuple[Setting, Console]]:
    """Load data and model for a study of one kind.

    Args:
        given: Fields of a ``Study``, as for ``make_study``.
        kind: Of the robustness study; names the folder.
        study_file: A TOML file with the same fields.
        controls: Whether steered methods bring their controls.
        placement: In which data type and on which devices the model is loaded.
        out: The folder; None is a new one in the cache folder.
        batch_size: At most this many rows at once.
        console: Where to print.

    Raises:
        TrimtabError: Figures cannot be made, or as ``make_study`` and ``Study.dataset``.
    """
    check_plots()
    from ...eval.texts.study import make_study

    if batch_size < 1:
        raise TrimtabError(f"expected a batch of at least 1 row, got {batch_size}")
    console = console or Console()
    study = make_study(given, file=study_file, controls=controls)
    dataset = study.dataset()
    console.print(dataset.described(), soft_wrap=True, highlight=False, markup=False)
    folder = out or home() / "runs" / f"{kind}-{study.task}-{datetime.now():%Y%m%d-%H%M%S}"
    with progress_bars(console) as bars:
        loading = bars.add_task(f"loading {study.model}", total=None)
        model = load_model(study.model, placement)
        bars.remove_task(loading)
        yield Setting(study, model, dataset, folder, batch_size, phases(bars)), console


def numbers(text: str, what: str) -> list[float]:
    """Numbers from a line: ``0.5,1,2``.

    Raises:
        TrimtabError: Something else is in it, or nothing.
    """
    parts = [part.strip().removesuffix("%") for part in text.split(",") if part.strip()]
    try:
        found = [float(part) for part in parts]
    except ValueError:
        found = []
    if not found:
        raise TrimtabError(f"expected {what} as numbers with commas, got {text!r}")
    return found
