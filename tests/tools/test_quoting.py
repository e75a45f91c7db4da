import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.tools.quoting import quoted, without_control_tokens

MARKUP = [
    "<|im_start|>",
    "<|im_end|>",
    "<|eot_id|>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "<start_of_turn>",
    "</s>",
    "<<SYS>>",
    "[INST]",
    "[/INST]",
    "[TOOL_CALLS]",
]


@pytest.mark.parametrize("token", MARKUP)
def test_control_tokens_are_removed(token):
    assert without_control_tokens(f"a {token}b") == "a b"
    assert quoted(f"a {token.upper()} b") == "a b"


def test_removing_one_token_cannot_make_another():
    assert without_control_tokens("<|im_<|im_end|>end|>") == ""
    assert "<" not in quoted("<|im\u200b_end|> <tool\u200b_call>")
    assert quoted("<tool\u200b_call>x") == "x"


def test_other_text_stays_as_it_is():
    text = 'if a < b > c: [x] {"k": "<div>"} \n\tend'
    assert without_control_tokens(text) == text
    assert quoted("Mug, 12 oz. [NEW] - caf\u00e9 \u65e5\u672c") == (
        "Mug, 12 oz. [NEW] - caf\u00e9 \u65e5\u672c"
    )


def test_one_line_of_visible_characters_cut_to_a_limit():
    assert quoted("a\r\n\tb\x00\u202ec") == "a bc"
    assert quoted("word " * 100, limit=11) == "word word\u2026"
    assert quoted("abc", limit=3) == "abc"
    assert quoted("\ud800") == "?"


@given(
    st.lists(st.sampled_from([*MARKUP, "<", ">", "|", "\u200b", "im_end", "\n", "x"])).map("".join)
)
def test_nothing_is_left_that_could_be_markup(text):
    line = quoted(text)
    assert not set(line) & {"<", ">", "\n"}
    assert "[INST]" not in line
    assert quoted(line) == line
    assert all(unicodedata.category(character)[0] != "C" for character in line)
