"""Prompts of writing tasks: what is shown where, and what is cut when there is no room."""

import pytest

from trimtab.envs.texts.dataset import TextSample
from trimtab.errors import TrimtabError
from trimtab.eval.texts.prompt import TextPrompt, text_messages

PAST = [TextSample(f"s{n}", f"Ask: about {n}", f"text\n {n}") for n in range(4)]


def test_the_best_stands_next_to_the_request():
    system, user = text_messages("Be brief.", "Ask: now", shown=PAST[:2], show="outputs")
    assert system == {"role": "system", "content": "Be brief."}
    assert user["content"] == "From the same person, earlier:\n- text 1\n- text 0\n\nAsk: now"


def test_inputs_are_shown_without_the_instruction_that_all_have():
    _, user = text_messages("s", "Ask: now", shown=PAST[:1], show="both", instruction="Ask: ")
    assert "- about 0\n  text 0" in user["content"]
    silent = TextSample("s", "", "only this")
    _, user = text_messages("s", "Ask: now", shown=[silent], show="both")
    assert "- only this\n" in user["content"]


def test_a_profile_comes_first():
    _, user = text_messages("s", "Ask: now", shown=PAST[:1], profile="Likes tea.", show="outputs")
    first, second, last = user["content"].split("\n\n")
    assert first.endswith("Likes tea.") and "text 0" in second and last == "Ask: now"


def test_nothing_about_the_person_is_the_request_alone():
    assert text_messages("s", "Ask: now")[1]["content"] == "Ask: now"


def length(model, messages):
    return len(model.prompt_tokens(messages))


@pytest.mark.parametrize("context", range(120, 400, 7))
def test_history_is_cut_first_then_the_profile_then_the_request(byte_model, context):
    prompt = TextPrompt(byte_model, "Be brief.", room=20, context=context)
    request = "Ask: now " + "and then " * 6
    found = prompt.fit(request, shown=PAST, profile="Likes green tea.")
    assert length(byte_model, found.messages) <= context - 20
    content = found.messages[1]["content"]
    assert found.shown == content.count("- text") == 4 - found.cut.get("samples", 0)
    assert [f"text {n}" in content for n in range(4)] == [n < found.shown for n in range(4)]
    assert ("Likes green tea." in content) == ("profile" not in found.cut)
    assert content.endswith(request) == ("input_tokens" not in found.cut)
    if "profile" in found.cut:
        assert found.shown == 0
    if "input_tokens" in found.cut:
        assert "profile" in found.cut and request.startswith(content)
        assert len(request) - len(content) == found.cut["input_tokens"]  # a byte is a token
    elif found.shown < 4 and "profile" not in found.cut:  # no more was cut than it takes
        more = text_messages(
            "Be brief.",
            request,
            shown=PAST[: found.shown + 1],
            profile="Likes green tea.",
            show="outputs",
        )
        assert length(byte_model, more) > context - 20


def test_all_that_fits_is_not_cut(byte_model):
    found = TextPrompt(byte_model, "s", room=20).fit("Ask: now", shown=PAST)
    assert found.shown == 4 and not found.cut
    assert TextPrompt(byte_model, "s", room=20).limit == 2048 - 20


def test_no_room_at_all_is_told(byte_model):
    with pytest.raises(TrimtabError, match="too few for an empty one"):
        TextPrompt(byte_model, "Be brief.", room=20, context=40).fit("Ask: now", shown=PAST)
