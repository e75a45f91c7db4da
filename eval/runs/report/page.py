"""One file that needs nothing else: template, styles, script and data put together."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, Environment, StrictUndefined
from markupsafe import Markup

from ....errors import TrimtabError
from ....files import encodable, replacing
from ...statistics.gains import run_metric
from ...statistics.notes import PERSONAL_NOTE, interval_note
from ..record import Run
from .charts import mark, number
from .samples import browser_data
from .sections import costs, metric_view


def write_report(run: Run, path: Path | str | None = None) -> Path:
    """Write a run's report, whole or not at all.

    Args:
        run: From ``read_run``.
        path: The HTML file; None is ``report.html`` in the run's folder.

    Returns:
        The path.

    Raises:
        TrimtabError: The run has no records, or the file cannot be written.
    """
    path = Path(path) if path is not None else run.path / "report.html"
    page = render_report(run)
    try:
        with replacing(path) as temporary:
            temporary.write_text(page, encoding="utf-8")
    except OSError as error:
        raise TrimtabError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def render_report(run: Run) -> str:
    """The page as text that any encoding of Unicode holds.

    Everything that comes from the run is escaped where it is put in: by the template in HTML, as
    ASCII without ``<`` in the script's data. The page's own policy lets no other script run and
    nothing be fetched.

    Raises:
        TrimtabError: The run has no records.
    """
    if not run.records:
        raise TrimtabError(
            f"the run in {run.path} has no results yet; let at least one sample end, then report"
        )
    environment = Environment(
        loader=BaseLoader(),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number)
    script, style = _part("report.js"), _part("report.css")
    metrics = {name: run_metric(run, name).higher_is_better for name in run.metrics}
    views = [metric_view(run, name) for name in run.metrics]
    spent = costs(run)
    timed = {
        "latency": any(cost.latency > 0 for cost in spent.values()),
        "batches": any(cost.batch_seconds > 0 for cost in spent.values()),
    }
    page = environment.from_string(_part("report.html.jinja")).render(
        run=run,
        task=run.task or "run",
        name=run.path.resolve().name,
        costs=spent,
        timed=timed,
        views=views,
        intervals=interval_note(e.users for view in views for e in view.overall.values()),
        personal_note=PERSONAL_NOTE,
        users=len({record.user_id for record in run.records}),
        samples=len({record.sample_id for record in run.records}),
        failed=sum(bool(record.error) for record in run.records),
        configuration=list(_flat(run.configuration)),
        mark=mark,
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        data=_inside_script(browser_data(run, metrics)),
    )
    return encodable(page)


def _part(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _inside_script(value: Any) -> Markup:
    """JSON that nothing in it can end: no ``<``, and no character but ASCII."""
    return Markup(json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """A configuration as ``a.b.c`` and a text."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{name}.{key}" if name else str(key))
    else:
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
