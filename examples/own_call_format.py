"""Tool calls in a form of your own: shown to the model, held to, and read back.

python examples/own_call_format.py [MODEL]
"""

import sys
from typing import Any

from trimtab.agent import SteeredChatModel, format_call, parse_call
from trimtab.agent.calling.formats.call_format import CallFormat
from trimtab.agent.calling.formats.json_arguments import JsonArguments
from trimtab.agent.calling.formats.table import register
from trimtab.agent.calling.tool_call import ToolCall
from trimtab.steering import SteeredModel

# `CALL weather WITH {"city": "Oslo"} END`
register(
    CallFormat(
        name="shouted",
        models="one that was trained on shouted calls",
        arguments=JsonArguments(),
        head=r"CALL\s+(?P<name>[\w.-]+)\s+WITH\s*(?=\{)",
        tail=r"\s*END",
        before="CALL ",
        between=" WITH ",
        after=" END",
        separator="\n",
        mark="CALL ",
    )
)


def weather(city: str) -> str:
    """Tell the weather.

    Args:
        city: Where.
    """
    return f"sunny in {city}"


def main(name: str = "qwen2.5-coder-0.5b-instruct") -> list[Any]:
    """Have a model call a tool in that form, and print the call."""
    call = ToolCall("weather", {"city": "Oslo"})
    assert parse_call(format_call(call, call_format="shouted"), call_format="shouted") == call
    chat = SteeredChatModel(SteeredModel.from_pretrained(name), call_format="shouted")
    answer = chat.bind_tools([weather], tool_choice="any").invoke("How is the weather in Oslo?")
    print(answer.tool_calls)
    return list(answer.tool_calls)


if __name__ == "__main__":
    main(*sys.argv[1:])
