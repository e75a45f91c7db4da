"""Every sample with every method's answer, as the page's script reads it.

Texts that come more than once, such as the system message of thousands of prompts, are kept once:
``texts`` holds them, and a number elsewhere is a place in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from ..record import Record, Run
from .sections import user_rows

_PICKED = ("sample_id", "key", "answer", "similarity", "weight")


def browser_data(run: Run, metrics: Mapping[str, bool]) -> dict[str, Any]:
    """All that the page's script needs, as plain data.

    Args:
        run: The run.
        metrics: Their names, and whether more is better.
    """
    texts = _Texts()
    samples: dict[str, dict[str, Any]] = {}
    for record in run.records:
        sample = samples.setdefault(
            record.sample_id,
            {
                "id": record.sample_id,
                "user": record.user_id,
                "kind": record.kind,
                "history": record.history,
                "gold": texts.place(record.gold),
                "answers": [None] * len(run.methods),
            },
        )
        sample["answers"][run.methods.index(record.method)] = _answer(record, run, texts)
    return {
        "methods": list(run.methods),
        "baseline": run.methods.index(run.baseline) if run.methods else 0,
        # A call is no paraphrase of its gold: what differs there is almost every word.
        "against": "" if any("episode" in r.detail for r in run.records) else "gold",
        "metrics": [{"name": name, "more": more} for name, more in metrics.items()],
        "users": user_rows(run),
        "samples": list(samples.values()),
        "texts": texts.found,
    }


class _Texts:
    def __init__(self) -> None:
        self.found: list[str] = []
        self._places: dict[str, int] = {}

    def place(self, text: str) -> int:
        if text not in self._places:
            self._places[text] = len(self.found)
            self.found.append(text)
        return self._places[text]


def _answer(record: Record, run: Run, texts: _Texts) -> dict[str, Any]:
    detail = {name: value for name, value in record.detail.items() if name != "episode"}
    steps = (record.detail.get("episode") or {}).get("steps") or []
    return {
        "output": texts.place(record.output),
        "prompt": [[str(m.get("role", "")), texts.place(_content(m))] for m in record.prompt],
        "scores": [_rounded(record.scores.get(name)) for name in run.metrics],
        "picked": [[_rounded(entry.get(name)) for name in _PICKED] for entry in record.picked],
        "tokens": [record.prompt_tokens, record.completion_tokens],
        # In a batch a sample has no seconds of its own.
        "seconds": _rounded(record.seconds) if record.detail.get("batch") == 1 else None,
        "cut": record.cut,
        "error": record.error,
        "results": [texts.place(str(step.get("content") or "")) for step in steps],
        "detail": texts.place(json.dumps(detail, ensure_ascii=False, indent=1)) if detail else None,
    }


def _content(message: Mapping[str, Any]) -> str:
    """A message as text; whatever is no plain text in it as JSON."""
    content = message.get("content") or ""
    written = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    rest = {k: v for k, v in message.items() if k not in ("role", "content") and v}
    return f"{written}\n{json.dumps(rest, ensure_ascii=False)}".strip() if rest else written


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value
