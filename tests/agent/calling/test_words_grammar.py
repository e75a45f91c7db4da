"""Words alone: no call can be written in any format, and sentences can."""

import pytest
from llguidance import LLMatcher, LLTokenizer

from trimtab.agent.calling.format_grammar import words_grammar
from trimtab.agent.calling.formats.call_format import CallFormat
from trimtab.agent.calling.formats.table import formats
from trimtab.agent.calling.tool_call import ToolCall

BYTES = LLTokenizer("byte")
CALL = ToolCall("search", {"query": "lamp"})


def accepts(call_format: CallFormat, text: str) -> bool:
    matcher = LLMatcher(BYTES, words_grammar(call_format), log_level=0)
    return matcher.consume_tokens(list(text.encode())) and matcher.is_accepting()


@pytest.mark.parametrize("call_format", formats(), ids=lambda own: own.name)
def test_words_hold_no_call(call_format: CallFormat) -> None:
    opening = call_format.text_opening
    written = call_format.write([CALL])
    assert accepts(call_format, f"{opening}I found {{a}} lamp [1], it costs < 20 (`USD`).")
    assert not accepts(call_format, written)
    assert not accepts(call_format, opening + written)
    if not call_format.bare:
        assert not accepts(call_format, f"{opening}Well. {written}")
