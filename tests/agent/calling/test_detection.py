"""The call format that a template teaches, found by rendering a call."""

import pytest

from trimtab.agent.calling.detection import call_format_of
from trimtab.errors import TrimtabError
from trimtab.steering.prompts.render import render

HEAD = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|im_start|>"
    "{{ m['role'] }}\n{{ m['content'] }}{% for c in m['tool_calls'] or [] %}"
    "{% set f = c['function'] %}"
)
TAIL = (
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ARGUMENTS = "{{ f['arguments'] | tojson }}"
CALLS = {
    "hermes": '<tool_call>\n{"name": "{{ f.name }}", "arguments": ' + ARGUMENTS + "}\n</tool_call>",
    "llama-custom": "<function={{ f.name }}>" + ARGUMENTS + "</function>",
    "llama": '{"name": "{{ f.name }}", "parameters": ' + ARGUMENTS + "}",
    "xml": "<tool_call>\n<function={{ f.name }}>\n{% for k, v in f.arguments.items() %}"
    "<parameter={{ k }}>\n{{ v }}\n</parameter>\n{% endfor %}</function>\n</tool_call>",
    "glm": "<tool_call>{{ f.name }}\n{% for k, v in f.arguments.items() %}<arg_key>{{ k }}"
    "</arg_key>\n<arg_value>{{ v if v is string else v | tojson }}</arg_value>\n{% endfor %}"
    "</tool_call>",
    "mistral": "[TOOL_CALLS]{{ f.name }}[ARGS]" + ARGUMENTS,
    "mistral-name": "[TOOL_CALLS]{{ f.name }}" + ARGUMENTS,
    "mistral-list": '[TOOL_CALLS][{"name": "{{ f.name }}", "arguments": ' + ARGUMENTS + "}]",
    "harmony": " to=functions.{{ f.name }}<|channel|>commentary json<|message|>" + ARGUMENTS,
    "gemma": "<|tool_call>call:{{ f.name }}{{ '{' }}{% for k, v in f.arguments.items() %}{{ k }}:"
    "{% if v is string %}<|\"|>{{ v }}<|\"|>{% else %}{{ v | tojson }}{% endif %}"
    "{{ ',' if not loop.last }}{% endfor %}{{ '}' }}<tool_call|>",
    "deepseek-3.1": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>{{ f.name }}<｜tool▁sep｜>"
    "{{ f['arguments'] + '' }}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "kimi": "<|tool_calls_section_begin|><|tool_call_begin|>{{ c['id'] }}"
    "<|tool_call_argument_begin|>" + ARGUMENTS + "<|tool_call_end|><|tool_calls_section_end|>",
    "lfm2": "<|tool_call_start|>[{{ f.name }}({% for k, v in f.arguments.items() %}{{ k }}="
    "{{ v | tojson }}{{ ', ' if not loop.last }}{% endfor %})]<|tool_call_end|>",
}  # fmt: skip
TALK = [
    {"role": "user", "content": "A mug?"},
    {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "call_0", "function": {"name": "find", "arguments": '{"query": "mug"}'}},
            {"id": "call_1", "function": {"name": "look", "arguments": {"query": "lamp"}}},
        ],
    },
    {"role": "tool", "content": "none", "tool_call_id": "call_0"},
    {"role": "tool", "content": "two", "tool_call_id": "call_1"},
]
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}


@pytest.fixture
def taught(tiny):
    """A tiny model whose template writes calls in one form."""
    before = tiny.tokenizer.chat_template

    def of(template):
        tiny.tokenizer.chat_template = template
        return tiny

    yield of
    tiny.tokenizer.chat_template = before


@pytest.mark.parametrize("name", CALLS)
def test_the_format_is_that_of_the_template(taught, name):
    model = taught(HEAD + CALLS[name] + TAIL)
    assert call_format_of(model).name == name
    assert call_format_of(model, "gemma").name == "gemma"
    text = render(model.tokenizer, TALK, [TOOL])
    assert text.index("find", text.index("A mug?")) < text.index("look")
    assert "{'query'" not in text and '\\"query' not in text


def test_without_tools_in_the_template_it_is_hermes(taught):
    plain = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
    assert call_format_of(taught(plain)).name == "hermes"
    assert call_format_of(taught(None)).name == "hermes"
    with pytest.raises(TrimtabError, match="expected a call format among"):
        call_format_of(taught(None), "morse")


def test_one_call_a_message_where_the_template_takes_no_more(taught):
    refuses = "{% if (m['tool_calls'] or []) | length > 1 %}{{ raise_exception('one') }}{% endif %}"
    template = HEAD.replace("{% for c in", refuses + "{% for c in") + CALLS["hermes"] + TAIL
    text = render(taught(template).tokenizer, TALK, [TOOL])
    assert text.index("find", text.index("A mug?")) < text.index("none") < text.index("look")


def test_a_thought_is_closed_as_the_template_closes_one(taught):
    template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['reasoning_content'] %}"
        "<think>\n{{ m['reasoning_content'] }}\n</think>\n{% endif %}{{ m['content'] }}<|im_end|>\n"
        "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    )
    model = taught(template)
    assert render(model.tokenizer, TALK[:1]).endswith("assistant\n<think>\n</think>\n")


def test_reasoning_of_other_makers_is_left_out(taught):
    model = taught(HEAD + CALLS["hermes"] + TAIL)
    blocks = [
        {"type": "thinking", "thinking": "secret", "signature": "x"},
        {"type": "reasoning", "reasoning": "secret"},
        {"type": "redacted_thinking", "data": "secret"},
        {"type": "text", "text": "Here."},
    ]
    talk = [*TALK[:1], {"role": "assistant", "content": blocks}, *TALK[:1]]
    text = render(model.tokenizer, talk)
    assert "Here." in text and "secret" not in text
