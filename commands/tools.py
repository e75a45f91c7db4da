"""``trimtab tools``: look over a file of tools before a model meets it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from ..errors import TrimtabError

if TYPE_CHECKING:
    from rich.console import Console
    from transformers import PreTrainedTokenizerBase

    from ..agent.calling.tool_check import ExampleCheck, ToolCheck
    from ..tools.files.tool_file import ToolFile

_REQUEST = "What the user says."

app = typer.Typer()


@app.callback(invoke_without_command=True)
def tools_group(context: typer.Context) -> None:
    """Look over a file of tools before a model meets it."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("check")
def tools_check(
    file: Annotated[Path, typer.Argument(help="A .py, .yaml or .json file of tools.")],
    prompt: Annotated[
        bool, typer.Option("--prompt", help="Show the whole prompt that a model reads.")
    ] = False,
    schemas: Annotated[
        bool, typer.Option("--schemas", help="Show each schema as given and as bounded.")
    ] = False,
    call: Annotated[
        bool, typer.Option("--call", help="Call the tools with their examples, too.")
    ] = False,
    model: Annotated[
        str, typer.Option(help="Whose prompt and form of calls: a name, a hub id, or a folder.")
    ] = "",
) -> None:
    """Say what a model sees of the tools, what it can write, and whether the examples fit."""
    from rich.console import Console

    from ..agent.calling.detection import call_format_of
    from ..agent.calling.tool_check import check_examples, check_tool
    from ..steering.weights.known import DEFAULT_MODEL
    from ..tools.files.tool_file import open_tool_file

    console = Console()
    tokenizer = _tokenizer(model or DEFAULT_MODEL) if model or prompt else None
    form = call_format_of(SimpleNamespace(tokenizer=tokenizer))
    with open_tool_file(file) as opened:
        tools = [check_tool(spec, call_format=form) for spec in opened.toolkit]
        for tool in tools:
            _print_tool(console, tool, schemas)
        examples = check_examples(opened, call=call, call_format=form)
        for example in examples:
            _print_example(console, example)
        if tokenizer is not None and prompt:
            _print_prompt(console, opened, tokenizer, model or DEFAULT_MODEL)
    wrong = sum(not example.passed for example in examples)
    refused = [tool.spec.name for tool in tools if tool.refusal]
    _print(console, f"{_counted(len(tools), 'tool')}, {_counted(len(examples), 'example')}")
    if wrong or refused:
        faults = [f"calls of {name} cannot be constrained" for name in refused]
        faults += [f"{_counted(wrong, 'example')} did not come out as said"] if wrong else []
        raise TrimtabError(f"{file.name}: {'; '.join(faults)}; see above")


def _print_tool(console: Console, tool: ToolCheck, schemas: bool) -> None:
    from ..agent.calling.tool_check import shown_json

    spec = tool.spec
    _print(console, Text(f"{spec.name}({_signature(spec.parameters)})", style="bold"))
    for line in spec.description.splitlines():
        _print(console, f"  {line}")
    for note in tool.notes:
        _print(console, Text(f"  note: {note}", style="yellow"))
    if tool.refusal:
        _print(console, Text(f"  cannot be constrained: {tool.refusal}", style="red"))
    if schemas:
        _print(console, f"  schema:\n{_indented(shown_json(spec.parameters))}")
        _print(console, f"  bounded:\n{_indented(shown_json(tool.bounded))}")
    _print(console, "")


def _print_example(console: Console, checked: ExampleCheck) -> None:
    from ..tools.schema import shown

    example = checked.example
    _print(
        console,
        Text(
            f"{'ok' if checked.passed else 'WRONG':>5}  {example.tool} {shown(example.arguments)}",
            style="" if checked.passed else "red",
        ),
    )
    if checked.error:
        _print(console, f"       {checked.error}")
    elif not example.valid:
        _print(console, "       it should be refused, and is not")
    if checked.writable is False:
        _print(console, "       constrained decoding could not write it: it is out of bounds")
    if checked.result is not None:
        _print(console, f"       {checked.result.content}")


def _tokenizer(model: str) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    from ..steering.weights.known import model_path

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model_path(model))
    except (OSError, ValueError) as error:
        raise TrimtabError(f"cannot load the tokenizer of {model!r}: {error}") from error
    return tokenizer


def _print_prompt(
    console: Console, file: ToolFile, tokenizer: PreTrainedTokenizerBase, model: str
) -> None:
    from ..agent.calling.tool_check import prompt_of

    request = next((example.request for example in file.examples if example.request), _REQUEST)
    text, tokens, of_tools = prompt_of(tokenizer, file.toolkit, request)
    _print(console, "")
    _print(console, text)
    _print(console, f"\n{tokens} tokens, {of_tools} of them for the tools, as {model} reads them")


def _signature(schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    return ", ".join(
        name if name in required else f"{name}?" for name in schema.get("properties", {})
    )


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _print(console: Console, line: str | Text) -> None:
    """As it is: what a tool says is no markup, and a line ends where it ends."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)
