"""The authors' recipe: what stands in front of both sides, what the prompt holds, how it steers."""

from dataclasses import replace

import pytest

from trimtab.errors import TrimtabError
from trimtab.eval.methods.registry import get_method, parse_methods, with_controls
from trimtab.eval.metrics import METRICS, first_line, first_line_scores
from trimtab.eval.task import Item
from trimtab.eval.texts.kinds import get_task
from trimtab.eval.texts.task import prompt_of
from trimtab.eval.texts.users import TextUsers
from trimtab.steering.prompts.render import tokenize


@pytest.fixture
def prepared(byte_model, writers, tmp_path):
    task = replace(get_task("headlines"), max_new_tokens=6, rejected_below=1.0)
    return TextUsers(byte_model, task, writers, folder=tmp_path)


def test_other_peoples_prompt_stands_raw_in_front_of_both_sides(prepared, byte_model):
    pairs = prepared.pairs("published")
    around = prepared.surroundings(5)
    assert any(pairs.values())
    for user, own in pairs.items():
        others = {c.sample.id: c.others for c in around[user]}
        for pair in own:
            assert pair.positive.messages == pair.negative.messages
            assert pair.positive.raw and pair.negative.raw and pair.contrast == "response"
            text = "\n\n".join(message["content"] for message in pair.positive.messages)
            for other in others[pair.sample_id]:
                assert other.output in text
            forced = byte_model.tokenized(pair.positive)
            assert forced.prompt == tuple(tokenize(byte_model.tokenizer, text + "\n"))
            assert not set(forced.prompt) & set(byte_model.tokenizer.all_special_ids)
    # What is read does depend on it.
    plain, raw = (prepared.dictionaries(kind, layers=[2]) for kind in ("response", "published"))
    assert any((plain[user].vectors != raw[user].vectors).any() for user in raw if user in plain)


def test_the_prompt_holds_the_users_past_and_steers_everywhere(prepared):
    method = get_method("fints-published", {})
    assert (method.sites, method.depths, method.strength) == (("mid", "mlp"), (0.72,), 1.0)
    assert (method.keys, method.k, method.aggregate) == ("input+answer", 5, "attentive")
    treat, beside = method.prepare(prepared), get_method("rag", {"k": 5}).prepare(prepared)
    steered = 0
    for sample in prepared.samples():
        ours, plain = (
            prompt_of(prepared, Item("", sample, each(sample))) for each in (treat, beside)
        )
        assert ours.fitted.messages == plain.fitted.messages
        assert plain.steering is None
        if ours.steering is not None:
            assert ours.steering.positions == "all"
            steered += 1
    assert steered
    labels = [named.label for named in with_controls(parse_methods("fints-published"))]
    assert labels == [f"fints-published{end}" for end in ("", "-other", "-population")]
    with pytest.raises(TrimtabError, match="no option 'collective'"):
        get_method("fints-published", {"collective": 1.0})


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Rain again\nand more", "Rain again"),
        ("Here is a Headline for you:\n\n  Rain again  ", "Rain again"),
        ("Abstract\nTitle: x\n", ""),
        ("", ""),
    ],
)
def test_the_first_line_is_what_does_not_name_itself(text, line):
    assert first_line(text) == line


def test_first_lines_are_scored_beside_whole_texts():
    output, gold = "The headline:\nrain again\nand again", "rain again"
    scores = {name: METRICS[name].score(output, gold) for name in ("rouge-1", "rouge-l")}
    assert first_line_scores(scores, output, gold) == {
        "rouge-1-first-line": 1.0,
        "rouge-l-first-line": 1.0,
    }
    assert scores["rouge-1"] < 1 and first_line_scores({"accuracy": 1.0}, output, gold) == {}
