"""What a model sees of tools, what constrained decoding lets it write, and whether examples fit.

For people who write tools: ``trimtab tools check``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import TrimtabError
from ...tools.files.tool_file import ToolExample, ToolFile
from ...tools.spec import ToolSpec
from ...tools.toolkit import Toolkit, ToolResult
from ..loop.prompt import SYSTEM_PROMPT
from .beyond_grammar import reduced_schema
from .calls import ToolCall, call_grammar, format_call
from .schema_bounds import Bounds

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from .formats.call_format import CallFormat


@dataclass(frozen=True)
class ToolCheck:
    """One tool as it stands.

    Attributes:
        spec: The tool.
        bounded: The schema that constrained decoding holds calls to.
        refusal: Why calls cannot be constrained; empty if they can.
        notes: What a model, or a person, may miss in it.
    """

    spec: ToolSpec
    bounded: dict[str, Any]
    refusal: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class ExampleCheck:
    """One example, tried.

    Attributes:
        example: The example.
        error: What is wrong with its arguments, as a model would be told; empty if nothing is.
        writable: Whether constrained decoding could write the call, None where it need not.
        result: What calling the tool gave; None if it was not called.
    """

    example: ToolExample
    error: str
    writable: bool | None
    result: ToolResult | None

    @property
    def passed(self) -> bool:
        """Whether it came out as the example says."""
        came_out = self.example.valid == (not self.error)
        return came_out and (self.result is None or self.result.ok)


def check_tool(spec: ToolSpec, *, call_format: CallFormat | str | None = None) -> ToolCheck:
    """Look a tool over.

    Args:
        spec: The tool.
        call_format: The form of calls, or its name; None is that of Hermes and Qwen models.
    """
    refusal = ""
    try:
        call_grammar([spec.to_openai()], call_format=call_format)
    except TrimtabError as error:
        refusal = str(error)
    return ToolCheck(spec, Bounds().narrowed(spec.parameters), refusal, tuple(_notes(spec)))


def check_examples(
    file: ToolFile, *, call: bool = False, call_format: CallFormat | str | None = None
) -> list[ExampleCheck]:
    """Try a file's examples.

    Args:
        file: The file.
        call: Call the tools with the arguments that are right, too.
        call_format: As for ``check_tool``.
    """
    return [_tried(example, file.toolkit, call, call_format) for example in file.examples]


def prompt_of(
    tokenizer: PreTrainedTokenizerBase, toolkit: Toolkit, request: str
) -> tuple[str, int, int]:
    """What a model reads of tools.

    Args:
        tokenizer: The model's.
        toolkit: The tools.
        request: What the user says.

    Returns:
        The whole prompt, its length in tokens, and how many of them the tools cost.
    """
    from ...steering.prompts.render import render, tokenize

    messages = [
        {"role": "system", "content": SYSTEM_PROMPT},
        {"role": "user", "content": request},
    ]
    text = render(tokenizer, messages, toolkit.schemas())
    length = len(tokenize(tokenizer, text))
    return text, length, length - len(tokenize(tokenizer, render(tokenizer, messages)))


def _notes(spec: ToolSpec) -> list[str]:
    notes = []
    if not spec.description:
        notes.append("it has no description: the model has only its name to choose it by")
    silent = [
        name
        for name, schema in spec.parameters.get("properties", {}).items()
        if isinstance(schema, Mapping) and not schema.get("description")
    ]
    if silent:
        notes.append(f"no description of {', '.join(silent)}")
    _, left_out = reduced_schema(spec.parameters)
    if left_out:
        notes.append(f"checked when it is called, not while it is written: {', '.join(left_out)}")
    if spec.function is None:
        notes.append("it has no function: it is shown to the model and cannot be called")
    return notes


def _tried(
    example: ToolExample, toolkit: Toolkit, call: bool, call_format: CallFormat | str | None
) -> ExampleCheck:
    error = toolkit.validate(example.tool, example.arguments)
    if error is not None:
        return ExampleCheck(example, error.message, None, None)
    spec = toolkit.spec(example.tool)
    result = toolkit.call(example.tool, example.arguments) if call and example.valid else None
    writable = _writable(spec, example.arguments, call_format)
    return ExampleCheck(example, "", writable, result)


def _writable(
    spec: ToolSpec, arguments: Mapping[str, Any], call_format: CallFormat | str | None
) -> bool | None:
    """Whether the grammar of the tool's calls lets this one through; None if there is none."""
    from llguidance import LLMatcher, LLTokenizer

    try:
        grammar = call_grammar([spec.to_openai()], call_format=call_format)
    except TrimtabError:
        return None
    matcher = LLMatcher(LLTokenizer("byte"), grammar, log_level=0)
    call = ToolCall(spec.name, in_order(arguments, spec.parameters, spec.parameters))
    text = format_call(call, tools=[spec.to_openai()], call_format=call_format).encode()
    return bool(matcher.consume_tokens(list(text)) and matcher.is_accepting())


def in_order(value: Any, schema: Any, root: Mapping[str, Any]) -> Any:
    """A value with the members of its objects in the order in which the schema names them.

    Args:
        value: Any JSON value.
        schema: Its schema.
        root: What the schema's references refer to.

    Example:
        >>> in_order({"b": 1, "a": 2}, {"properties": {"a": {}, "b": {}}}, {})
        {'a': 2, 'b': 1}
    """
    schema = _resolved(schema, root)
    if isinstance(value, dict):
        properties: Mapping[str, Any] = schema.get("properties", {})
        names = [*(n for n in properties if n in value), *(n for n in value if n not in properties)]
        return {name: in_order(value[name], properties.get(name), root) for name in names}
    if isinstance(value, list):
        return [in_order(item, schema.get("items"), root) for item in value]
    return value


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema itself, or what it refers to in ``$defs``; empty where there is none to follow."""
    if not isinstance(schema, Mapping):
        return {}
    for part in (schema, *_alternatives(schema)):
        name = str(part.get("$ref", "")).removeprefix("#/$defs/")
        definition = root.get("$defs", {}).get(name)
        if isinstance(definition, Mapping):
            return definition
        if "properties" in part or "items" in part:
            return part
    return schema


def _alternatives(schema: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [part for part in schema.get("anyOf", ()) if isinstance(part, Mapping)]


def shown_json(value: Any) -> str:
    """JSON as a person reads it."""
    return json.dumps(value, indent=2, ensure_ascii=False)
