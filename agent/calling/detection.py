"""Which call format a model is taught: declared, or read from what its own template writes."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from ...steering.prompts.template import PROBE, PROBE_TOOL, Template
from .formats.call_format import CallFormat
from .formats.table import GLM, HERMES, KIMI, LLAMA_JSON, XML_PARAMETERS, format_named, formats

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def call_format_of(model: object, declared: CallFormat | str | None = None) -> CallFormat:
    """The format in which a model is taught to call tools.

    That of its template is found by rendering a call: it is the format that reads the call back.
    A model without a template, or with one that shows no tools, is shown tools and calls in the
    form of Hermes and Qwen models.

    Args:
        model: A ``SteeredModel``, or whatever else has its ``tokenizer``. Its attribute
            ``call_format``, if there is one, declares the format.
        declared: A format or its name, where the template's is not wanted.

    Raises:
        TrimtabError: A declared name that no format has.
    """
    wanted = declared or getattr(model, "call_format", None)
    if wanted is not None:
        return format_named(wanted) if isinstance(wanted, str) else wanted
    return _of_template(model)


def shown_by_template(model: object, call_format: CallFormat) -> bool:
    """Whether the model's prompts teach this format without being told to."""
    return _of_template(model).name == call_format.name


def _of_template(model: object) -> CallFormat:
    tokenizer = getattr(model, "tokenizer", None)
    template = getattr(tokenizer, "chat_template", None)
    if tokenizer is None or template is None:
        return HERMES
    return _taught(tokenizer, json.dumps(template))


@lru_cache(maxsize=16)
def _taught(tokenizer: PreTrainedTokenizerBase, template: str) -> CallFormat:
    """The format of a tokenizer's template; ``template`` is part of the cache's key."""
    shown = Template.of(tokenizer)
    if not shown.writes_tools:
        return HERMES
    if shown.names_by_id:
        return KIMI
    if shown.shown_call:
        return _reading(shown.shown_call) or HERMES
    return _by_marks(tokenizer, json.loads(template))


def _reading(text: str) -> CallFormat | None:
    """The format that reads the probe's call in a text, and nothing else as a call."""
    name, arguments = PROBE
    schemas = {name: PROBE_TOOL["function"]["parameters"]}
    for one in formats():
        for match in one.start.finditer(text):
            reading = one.read(text, match, schemas)
            if reading is not None and reading.calls == ((name, dict(arguments)),):
                plain = one is LLAMA_JSON and '"parameters"' not in text
                return replace(one, between=', "arguments": ') if plain else one
    return None


def _by_marks(tokenizer: PreTrainedTokenizerBase, template: str | dict[str, str]) -> CallFormat:
    """The format of a template that shows no calls, by the marks that it or the tokenizer has."""
    text = template if isinstance(template, str) else "\n".join(template.values())
    if "<function=" in text and "<parameter=" in text:
        return XML_PARAMETERS
    if "<arg_key>" in text:
        return GLM
    if "<tool_call>" in text:
        return HERMES
    added = tokenizer.get_added_vocab()
    for one in formats():
        if one.mark in text and one.mark:
            return one
    return next((one for one in formats() if one.marks and one.marks[0] in added), HERMES)
