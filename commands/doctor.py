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

    found = diagnose()
    if as_json:
        import json
        from dataclasses import asdict

        print(json.dumps(asdict(found), indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, show_header=False)
    for name, value in _lines(found):
        table.add_row(name, value)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 1000  # a pipe has no edge to wrap at
    console.print(table)


def _lines(found: Diagnosis) -> list[tuple[str, str]]:
    features = ", ".join(found.features) or "none that is known"
    lines = [
        ("versions", ", ".join(f"{name} {value}" for name, value in found.versions.items())),
        ("processor", f"{found.processor}, {found.cores} cores; {features}"),
        ("memory", f"{_size(found.memory)}, {_size(found.memory_available)} available"),
    ]
    for gpu in found.gpus:
        lines.append(("GPU", f"{gpu.name}, {_size(gpu.memory)}, capability {gpu.capability}"))
    if not found.gpus:
        lines.append(("GPU", "none that PyTorch can use"))
    lines += [
        ("device", found.device),
        ("dtype", f"{found.dtype}: {found.reason}"),
        ("cache", f"{found.cache}, {_size(found.disk_free)} free"),
    ]
    for model in found.models:
        here = "pulled" if model.ready else f"not pulled: `trimtab models pull {model.name}`"
        lines.append(("model", f"{model.name} ({_size(model.size)}), {here}"))
    for mirror in found.mirrors:
        reached = f"out of reach: {mirror.trouble}" if mirror.trouble else "answers"
        lines.append((mirror.name, f"{mirror.address} {reached}"))
    for part in found.parts:
        missing = f"without {', '.join(part.missing)}; `{part.install}`"
        lines.append(("optional", f"{part.name}: {missing if part.missing else 'installed'}"))
    return lines


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
