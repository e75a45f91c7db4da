"""``trimtab doctor``: what the machine has, and what will be used of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..steering.weights.diagnosis import Diagnosis


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say what this machine has, what trimtab will use of it, and what is missing."""
    from ..steering.weights.diagnosis import diagnose

    diagnosis = diagnose()
    if as_json:
        import json
        from dataclasses import asdict

        print(json.dumps(asdict(diagnosis), indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False)
    for name, value in _lines(diagnosis):
        table.add_row(name, value)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 1000  # a pipe has no edge to wrap at
    console.print(table)


def _lines(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    features = ", ".join(diagnosis.features) or "none that is known"
    lines = [
        ("versions", ", ".join(f"{name} {value}" for name, value in diagnosis.versions.items())),
        ("processor", f"{diagnosis.processor}, {diagnosis.cores} cores; {features}"),
        ("memory", f"{_size(diagnosis.memory)}, {_size(diagnosis.memory_available)} available"),
    ]
    for gpu in diagnosis.gpus:
        lines.append(("GPU", f"{gpu.name}, {_size(gpu.memory)}, capability {gpu.capability}"))
    if not diagnosis.gpus:
        lines.append(("GPU", "none that PyTorch can use"))
    lines += [
        ("device", diagnosis.device),
        ("dtype", f"{diagnosis.dtype}: {diagnosis.reason}"),
        ("cache", f"{diagnosis.cache}, {_size(diagnosis.disk_free)} free"),
    ]
    for model in diagnosis.models:
        here = "pulled" if model.ready else f"not pulled: `trimtab models pull {model.name}`"
        lines.append(("model", f"{model.name} ({_size(model.size)}), {here}"))
    for mirror in diagnosis.mirrors:
        reached = f"out of reach: {mirror.trouble}" if mirror.trouble else "answers"
        lines.append((mirror.name, f"{mirror.address} {reached}"))
    for part in diagnosis.parts:
        missing = f"without {', '.join(part.missing)}; `{part.install}`"
        lines.append(("optional", f"{part.name}: {missing if part.missing else 'installed'}"))
    return lines


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
