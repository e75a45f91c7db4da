"""Calls as they read once a tokenizer has dropped its special tokens; only where an answer starts.

Each entry is a format of the table with a head of its own.
"""

from __future__ import annotations

from dataclasses import replace

from . import table
from .call_format import NAME, CallFormat

UNMARKED: tuple[CallFormat, ...] = (
    replace(table.KIMI, head=rf"functions\.(?P<name>{NAME}):\d+\s*(?=\{{)"),
    replace(table.DEEPSEEK, head=rf"function\s*(?P<name>{NAME})\s*```(?:json)?\s*(?=\{{)"),
    replace(table.FUNCTION_GEMMA, head=rf"call:\s*(?P<name>{NAME})\s*(?=\{{)"),
    replace(table.MISTRAL_NAME, head=r"(?P<name>[A-Za-z_][\w.:-]*)(?:\[ARGS\])?(?=\{)"),
)
"""In the order in which the start of an answer is tried for them."""
