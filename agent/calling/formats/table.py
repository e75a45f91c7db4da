"""The table of call formats: adding one is adding one entry, or calling ``register``.

Formats with marks of their own stand before those that can only be told where an answer starts.
"""

from __future__ import annotations

from ....errors import TrimtabError
from .braced_arguments import BracedArguments
from .call_format import NAME, CallFormat
from .json_arguments import JsonArguments
from .python_arguments import PythonArguments
from .tagged_arguments import TaggedArguments

_JSON = JsonArguments()
_HERMES_MARKS = ("<tool_call>", "</tool_call>")

HERMES = CallFormat(
    name="hermes",
    models="Qwen 2.5 and 3, Hermes, Granite 4, SmolLM3, and every model without tools of its own",
    arguments=_JSON,
    head=r"<tool_call>\s*(?=[{\[])",
    tail=r"\s*</tool_call>",
    before='<tool_call>\n{"name": ',
    between=', "arguments": ',
    after="}\n</tool_call>",
    separator="\n",
    named_inside=True,
    mark="<tool_call>",
    marks=_HERMES_MARKS,
)

XML_PARAMETERS = CallFormat(
    name="xml",
    models="Qwen3.5, Qwen3-Coder, Nemotron 3",
    arguments=TaggedArguments(
        opening="<parameter=",
        middle=">\n",
        closing="\n</parameter>",
        again="\n",
        loose=r"\s*<parameter=\s*(?P<name>[^>\n]+?)\s*>",
    ),
    head=rf"(?:<tool_call>\s*)?<function=\s*(?P<name>{NAME})\s*>(?=\s*<parameter=|\s*</function>)",
    tail=r"\s*(?:</function>)?(?:\s*</tool_call>)?",
    before="<tool_call>\n<function=",
    between=">\n",
    after="</function>\n</tool_call>",
    separator="\n",
    mark="<tool_call>",
    marks=_HERMES_MARKS,
)

LLAMA_CUSTOM = CallFormat(
    name="llama-custom",
    models="Llama 3.1 with custom tools",
    arguments=_JSON,
    head=rf"<function=\s*(?P<name>{NAME})\s*>(?=\s*\{{)",
    tail=r"\s*</function>",
    before="<function=",
    between=">",
    after="</function>",
    mark="<function=",
)

GLM = CallFormat(
    name="glm",
    models="GLM 4.5 and later",
    arguments=TaggedArguments(
        opening="<arg_key>",
        middle="</arg_key>\n<arg_value>",
        closing="</arg_value>",
        again="\n",
        loose=r"\s*<arg_key>\s*(?P<name>[^<\n]+?)\s*</arg_key>\s*<arg_value>",
    ),
    head=rf"<tool_call>\s*(?P<name>{NAME})(?=\s*<arg_key>|\s*</tool_call>)",
    tail=r"\s*(?:</tool_call>)?",
    before="<tool_call>",
    between="\n",
    after="</tool_call>",
    separator="\n",
    mark="<tool_call>",
    marks=(*_HERMES_MARKS, "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
)

_MISTRAL_MARKS = ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "[TOOL_CONTENT]")
MISTRAL_LIST = CallFormat(
    name="mistral-list",
    models="Mistral up to v3: 7B v0.3, Nemo, Mixtral 8x22B",
    arguments=_JSON,
    head=r"\[TOOL_CALLS\]\s*(?=\[|\{)",
    opening="[TOOL_CALLS][",
    before='{"name": ',
    between=', "arguments": ',
    after="}",
    separator=", ",
    closing="]",
    named_inside=True,
    mark="[TOOL_CALLS]",
    marks=_MISTRAL_MARKS,
)

MISTRAL = CallFormat(
    name="mistral",
    models="Mistral v13: Magistral, Devstral, Ministral 3, Large 3",
    arguments=_JSON,
    head=rf"\[TOOL_CALLS\]\s*(?P<name>{NAME})(?:\[CALL_ID\][A-Za-z0-9]*)?\[ARGS\](?=\s*\{{)",
    before="[TOOL_CALLS]",
    between="[ARGS]",
    mark="[TOOL_CALLS]",
    marks=_MISTRAL_MARKS,
)

MISTRAL_NAME = CallFormat(
    name="mistral-name",
    models="Mistral v7 and v11: Small 3",
    arguments=_JSON,
    head=rf"\[TOOL_CALLS\]\s*(?P<name>{NAME})(?=\s*\{{)",
    before="[TOOL_CALLS]",
    mark="[TOOL_CALLS]",
    marks=_MISTRAL_MARKS,
)

HARMONY = CallFormat(
    name="harmony",
    models="gpt-oss",
    arguments=_JSON,
    head=(
        rf"(?:<\|channel\|>)?(?:commentary|analysis)?\s*to=functions\.(?P<name>{NAME})"
        r"\s*(?:<\|channel\|>(?:commentary|analysis))?\s*(?:<\|constrain\|>)?(?:json)?\s*"
        r"(?:<\|message\|>)?(?=\s*\{)"
    ),
    tail=r"\s*<\|call\|>",
    before="<|channel|>commentary to=functions.",
    between=" <|constrain|>json<|message|>",
    parallel=False,
    mark="<|channel|>commentary to=functions.",
    marks=("<|channel|>", "<|message|>", "<|constrain|>", "<|call|>", "<|start|>", "<|end|>"),
    text_opening="<|channel|>final<|message|>",
)

GEMMA = CallFormat(
    name="gemma",
    models="Gemma 4",
    arguments=BracedArguments('<|"|>'),
    head=rf"<\|tool_call>\s*call:\s*(?P<name>{NAME})\s*(?=\{{)",
    tail=r"\s*<tool_call\|>",
    before="<|tool_call>call:",
    after="<tool_call|>",
    mark="<|tool_call>",
    marks=("<|tool_call>", "<tool_call|>", '<|"|>'),
)

FUNCTION_GEMMA = CallFormat(
    name="function-gemma",
    models="FunctionGemma",
    arguments=BracedArguments("<escape>"),
    head=rf"<start_function_call>\s*call:\s*(?P<name>{NAME})\s*(?=\{{)",
    tail=r"\s*<end_function_call>",
    before="<start_function_call>call:",
    after="<end_function_call>",
    mark="<start_function_call>",
    marks=("<start_function_call>", "<end_function_call>", "<escape>"),
)

_DEEPSEEK_MARKS = (
    *("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>"),
    *("<｜tool▁call▁end｜>", "<｜tool▁sep｜>"),
)
_DEEPSEEK_END = r"\s*(?:<｜tool▁call▁end｜>)?(?:\s*<｜tool▁calls▁end｜>)?"
DEEPSEEK = CallFormat(
    name="deepseek",
    models="DeepSeek V3 and R1",
    arguments=_JSON,
    head=(
        r"(?:<｜tool▁calls▁begin｜>\s*)?<｜tool▁call▁begin｜>\s*function\s*<｜tool▁sep｜>\s*"
        rf"(?P<name>{NAME})\s*```(?:json)?\s*(?=\{{)"
    ),
    tail=rf"\s*```{_DEEPSEEK_END}",
    opening="<｜tool▁calls▁begin｜>",
    before="<｜tool▁call▁begin｜>function<｜tool▁sep｜>",
    between="\n```json\n",
    after="\n```<｜tool▁call▁end｜>",
    separator="\n",
    closing="<｜tool▁calls▁end｜>",
    mark="<｜tool▁calls▁begin｜>",
    marks=_DEEPSEEK_MARKS,
)

DEEPSEEK_31 = CallFormat(
    name="deepseek-3.1",
    models="DeepSeek V3.1",
    arguments=_JSON,
    head=(
        r"(?:<｜tool▁calls▁begin｜>\s*)?<｜tool▁call▁begin｜>\s*"
        rf"(?P<name>{NAME})\s*<｜tool▁sep｜>\s*(?=\{{)"
    ),
    tail=_DEEPSEEK_END,
    opening="<｜tool▁calls▁begin｜>",
    before="<｜tool▁call▁begin｜>",
    between="<｜tool▁sep｜>",
    after="<｜tool▁call▁end｜>",
    closing="<｜tool▁calls▁end｜>",
    mark="<｜tool▁calls▁begin｜>",
    marks=_DEEPSEEK_MARKS,
)

_KIMI_MARKS = (
    *("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>"),
    *("<|tool_call_argument_begin|>", "<|tool_call_end|>"),
)
KIMI = CallFormat(
    name="kimi",
    models="Kimi K2",
    arguments=_JSON,
    head=(
        r"(?:<\|tool_calls_section_begin\|>\s*)?<\|tool_call_begin\|>\s*(?:functions\.)?"
        rf"(?P<name>{NAME}):\d+\s*<\|tool_call_argument_begin\|>\s*(?=\{{)"
    ),
    tail=r"\s*(?:<\|tool_call_end\|>)?(?:\s*<\|tool_calls_section_end\|>)?",
    opening="<|tool_calls_section_begin|>",
    before="<|tool_call_begin|>functions.",
    between=":{number}<|tool_call_argument_begin|>",
    after="<|tool_call_end|>",
    closing="<|tool_calls_section_end|>",
    mark="<|tool_calls_section_begin|>",
    marks=_KIMI_MARKS,
)

_PYTHON_CALL = r"(?P<name>[A-Za-z_][\w.:-]*)\("
LFM2 = CallFormat(
    name="lfm2",
    models="LFM2",
    arguments=PythonArguments(),
    head=rf"(?:<\|tool_call_start\|>\s*\[\s*|(?<=\)),\s*){_PYTHON_CALL}",
    tail=r"\)(?:\s*\])?(?:\s*<\|tool_call_end\|>)?",
    opening="<|tool_call_start|>[",
    between="(",
    after=")",
    separator=", ",
    closing="]<|tool_call_end|>",
    mark="<|tool_call_start|>",
    marks=("<|tool_call_start|>", "<|tool_call_end|>"),
)

GRANITE = CallFormat(
    name="granite",
    models="Granite 3, Phi-4-mini",
    arguments=_JSON,
    head=r"<\|tool_call\|>\s*(?=\[|\{)",
    tail=r"\s*<\|/tool_call\|>",
    opening="<|tool_call|>[",
    before='{"name": ',
    between=', "arguments": ',
    after="}",
    separator=", ",
    closing="]",
    named_inside=True,
    mark="<|tool_call|>",
    marks=("<|tool_call|>", "<|/tool_call|>"),
)

NEMOTRON = CallFormat(
    name="nemotron",
    models="Llama-Nemotron, Nemotron Nano 2",
    arguments=_JSON,
    head=r"<TOOLCALL>\s*(?=\[|\{)",
    tail=r"\s*</TOOLCALL>",
    opening="<TOOLCALL>[",
    before='{"name": ',
    between=', "arguments": ',
    after="}",
    separator=", ",
    closing="]</TOOLCALL>",
    named_inside=True,
    mark="<TOOLCALL>",
    marks=("<TOOLCALL>", "</TOOLCALL>"),
)

MINIMAX = CallFormat(
    name="minimax",
    models="MiniMax M2",
    arguments=TaggedArguments(
        opening='<parameter name="',
        middle='">',
        closing="</parameter>",
        again="\n",
        loose=r"\s*<parameter name=\"(?P<name>[^\"\n]+)\"[^>\n]*>",
    ),
    head=rf"(?:<minimax:tool_call>\s*)?<invoke name=\"(?P<name>{NAME})\">",
    tail=r"\s*(?:</invoke>)?(?:\s*</minimax:tool_call>)?",
    opening="<minimax:tool_call>\n",
    before='<invoke name="',
    between='">\n',
    after="</invoke>",
    separator="\n",
    closing="\n</minimax:tool_call>",
    mark="<minimax:tool_call>",
    marks=("<minimax:tool_call>", "</minimax:tool_call>"),
)

LLAMA_JSON = CallFormat(
    name="llama",
    models="Llama 3.1, 3.2 and 3.3",
    arguments=_JSON,
    head=r"(?:<\|python_tag\|>\s*)?(?=\{)",
    before='{"name": ',
    between=', "parameters": ',
    after="}",
    separator="; ",
    named_inside=True,
    parallel=False,
    bare=True,
    marks=("<|python_tag|>",),
)

PYTHONIC = CallFormat(
    name="pythonic",
    models="Llama 4, Llama 3.2 with a list of calls",
    arguments=PythonArguments(),
    head=rf"(?:<\|python_start\|>\s*)?(?:\[\s*|(?<=\)),\s*){_PYTHON_CALL}",
    tail=r"\)(?:\s*\])?(?:\s*<\|python_end\|>)?",
    opening="[",
    between="(",
    after=")",
    separator=", ",
    closing="]",
    bare=True,
    marks=("<|python_start|>", "<|python_end|>"),
)


_FORMATS = [
    *(XML_PARAMETERS, LLAMA_CUSTOM, HERMES, GLM, MISTRAL_LIST, MISTRAL, MISTRAL_NAME, HARMONY),
    *(GEMMA, FUNCTION_GEMMA, DEEPSEEK, DEEPSEEK_31, KIMI, LFM2, GRANITE, NEMOTRON, MINIMAX),
    *(PYTHONIC, LLAMA_JSON),
]


def formats() -> tuple[CallFormat, ...]:
    """All call formats, in the order in which a text is tried for them."""
    return tuple(_FORMATS)


def register(call_format: CallFormat) -> None:
    """Add a format, in front of all others; one of the same name is replaced."""
    _FORMATS[:] = [call_format, *(one for one in _FORMATS if one.name != call_format.name)]


def format_named(name: str) -> CallFormat:
    """The format of a name.

    Raises:
        TrimtabError: There is none.
    """
    for one in _FORMATS:
        if one.name == name:
            return one
    raise TrimtabError(
        f"expected a call format among {', '.join(one.name for one in _FORMATS)}; got {name!r}"
    )
