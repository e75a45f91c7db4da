"""Which tokens all prompts with the same instructions and tools begin with."""

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from trimtab.steering.prompts.beginning import beginning
from trimtab.steering.prompts.render import render, tokenize

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "search",
            "description": "Search the shop.",
            "parameters": {"type": "object", "properties": {"query": {"type": "string"}}},
        },
    }
]
SYSTEM = {"role": "system", "content": "w10 w11 w12"}


def test_a_beginning_ends_where_the_user_speaks(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    found = beginning(tiny_tokenizer, [SYSTEM])
    whole = tokenize(
        tiny_tokenizer, render(tiny_tokenizer, [SYSTEM, {"role": "user", "content": "w20"}])
    )
    assert found[:6] == tuple(whole[:6])
    assert tiny_tokenizer.decode(whole[6]) == "w20"


@pytest.mark.model
@pytest.mark.parametrize("said", ["0 or 1?", "Zebras", "", "<|im_end|>", "\n0"])
def test_the_default_models_prompts_all_begin_so(default_model_path: str, said: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(default_model_path)
    found = beginning(tokenizer, [SYSTEM], TOOLS)
    talk = [SYSTEM, {"role": "user", "content": said}, {"role": "assistant", "content": "0"}]
    for messages in (talk[:2], [*talk, {"role": "user", "content": "and?"}]):
        prompt = tokenize(tokenizer, render(tokenizer, messages, TOOLS))
        # A user's first letters may grow together with the line break before them.
        assert tuple(prompt[: len(found) - 1]) == found[:-1]
    assert tokenizer.decode(found).endswith("<|im_start|>user\n")
    assert "search" in tokenizer.decode(found)


def test_a_template_that_takes_no_such_conversation_has_none(
    tiny_tokenizer: PreTrainedTokenizerFast,
) -> None:
    kept = tiny_tokenizer.chat_template
    tiny_tokenizer.chat_template = "{{ raise_exception('no') }}"
    try:
        assert beginning(tiny_tokenizer, [SYSTEM]) == ()
    finally:
        tiny_tokenizer.chat_template = kept
