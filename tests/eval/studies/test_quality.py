import json
from dataclasses import replace

import pytest
import torch

from trimtab.errors import TrimtabError
from trimtab.eval.studies.quality import PEOPLE, quality_study

NAMES = ("fints(depths=0.5) at strength 1", "fints(depths=0.5) at strength 40")


def rows_of(finding):
    return {(row[0], row[1]): row[2:] for row in finding.rows}


@pytest.fixture
def made(setting):
    return setting("zero-shot,fints(depths=0.5)", generate=True, max_new_tokens=12)


def test_every_strength_and_peoples_own_texts_are_measured(made):
    finding, figure = quality_study(made, strengths=[40.0, 1.0, 1.0])
    rows = rows_of(finding)
    assert [label for label in dict.fromkeys(row[0] for row in finding.rows)] == [
        PEOPLE, "zero-shot", *NAMES,
    ]  # fmt: skip
    measures = {measure for label, measure in rows if label == NAMES[0]}
    assert measures >= {"log-likelihood", "fluency", "ended"}
    # People's texts are no answers, and never ran into a limit.
    assert {measure for label, measure in rows if label == PEOPLE} <= {"fluency", "repetition"}
    assert len(figure.axes) == 3


def test_texts_are_read_by_the_model_as_it_is(made):
    told = []
    watched = replace(made, progress=lambda *what: told.append(what))
    finding, _ = quality_study(watched, strengths=[40.0])
    reading = [(done, total) for what, done, total in told if what == "reading what was written"]
    assert reading[0][0] == 0 < reading[-1][0] == reading[-1][1]
    mean, low, high, gap, *_ = rows_of(finding)[NAMES[1], "fluency"]
    plain = {record["user_id"]: record["prompt"] for record in kept(made, "zero-shot")}
    expected = []
    model = made.model
    for record in kept(made, NAMES[1]):
        text = record["output"].strip()
        if not text:
            continue
        prompt = model.prompt_tokens(plain[record["user_id"]])
        answer = model.tokens_of(text)
        with torch.no_grad():
            logits = model.hf(torch.tensor([[*prompt, *answer]])).logits[0]
        nats = logits.log_softmax(-1)[len(prompt) - 1 : -1]
        expected.append(nats.gather(1, torch.tensor(answer)[:, None]).mean().item())
    assert mean == pytest.approx(sum(expected) / len(expected), abs=1e-4)
    assert low <= mean <= high
    # Greedy answers of the model itself are what it finds likeliest.
    assert gap < 0


def kept(made, label):
    lines = (made.folder / "runs" / "strengths" / "results.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["method"] == label]


def test_what_cannot_be_tried_is_refused(setting):
    with pytest.raises(TrimtabError, match="at least one strength"):
        quality_study(setting(generate=True), strengths=[])
    with pytest.raises(TrimtabError, match="leave out --no-generate"):
        quality_study(setting())
    with pytest.raises(TrimtabError, match="needs a method that steers"):
        quality_study(setting("zero-shot", generate=True))
