"""Mean activations of texts: read once, kept as they come, and the model's own numbers."""

from pathlib import Path

import pytest
import torch

from trimtab.errors import TrimtabError
from trimtab.eval.methods import activations
from trimtab.eval.methods.activations import KeptActivations
from trimtab.steering import Point, SteeredModel

PROMPT = ({"role": "user", "content": "Write a text of your own."},)
TEXTS = ["one short text", "another text that is longer than the first", "a third", "a third"]
POINTS = [Point(0, "block"), Point(1, "block")]


@pytest.fixture(scope="module")
def tiny(word_model_folder: Path) -> SteeredModel:
    return SteeredModel.from_pretrained(str(word_model_folder), dtype="float32", device="cpu")


@pytest.fixture
def reads(monkeypatch) -> list[int]:
    """How many texts each reading was given."""
    given: list[int] = []
    real = activations.mean_activations

    def counting(parts, exchanges, *args, **how):
        given.append(len(exchanges))
        return real(parts, exchanges, *args, **how)

    monkeypatch.setattr(activations, "mean_activations", counting)
    return given


@torch.no_grad()
def by_transformers(model: SteeredModel, text: str) -> torch.Tensor:
    """Of one text alone, at both points; block n's output is the hidden state n + 1."""
    prompt, answer = model.prompt_tokens(PROMPT), model.tokens_of(text)
    tokens = torch.tensor([[*prompt, *answer]])
    states = model.hf(tokens, output_hidden_states=True).hidden_states
    return torch.stack([states[point.layer + 1][0, len(prompt) :].mean(dim=0) for point in POINTS])


def test_are_those_of_the_model(tiny, tmp_path):
    read = KeptActivations(tmp_path / "a.sqlite").means(tiny, PROMPT, TEXTS, POINTS)
    expected = torch.stack([by_transformers(tiny, text) for text in TEXTS])
    torch.testing.assert_close(read, expected, atol=1e-5, rtol=1e-5)


def test_each_text_is_read_once_in_whatever_company(tiny, tmp_path, reads):
    told: list[int] = []
    kept = KeptActivations(tmp_path / "a.sqlite")
    first = kept.means(tiny, PROMPT, TEXTS, POINTS, progress=told.append)
    assert reads == [3] and sum(told) == 4
    again = KeptActivations(tmp_path / "a.sqlite").means(
        tiny, PROMPT, [*TEXTS[:2], "a new one"], POINTS, progress=told.append
    )
    assert reads == [3, 1] and sum(told) == 7
    assert again[:2].equal(first[:2])
    # A point more is read; other words before the texts are others' activations.
    one = kept.means(tiny, PROMPT, TEXTS[:1], POINTS[1:])
    assert reads == [3, 1] and one[0].equal(first[0, 1:])
    other = ({"role": "user", "content": "Write something else."},)
    assert not kept.means(tiny, other, TEXTS[:1], POINTS).equal(first[:1])
    assert reads == [3, 1, 1]


def test_what_was_read_before_a_break_is_kept(tiny, tmp_path, reads, monkeypatch):
    monkeypatch.setattr(activations, "_AT_ONCE", 1)
    kept = KeptActivations(tmp_path / "a.sqlite")

    def broken_off(count: int) -> None:
        if count and len(reads) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept.means(tiny, PROMPT, TEXTS, POINTS, progress=broken_off)
    kept.means(tiny, PROMPT, TEXTS, POINTS)
    assert reads == [1, 1, 1]


def test_a_text_longer_than_the_context_is_read_from_its_beginning(loaded_byte_model, tmp_path):
    room = loaded_byte_model.hf.config.max_position_embeddings - len(
        loaded_byte_model.prompt_tokens(PROMPT)
    )
    word = TEXTS[0].split()[0]
    long = " ".join([word] * (2 * room))
    read = KeptActivations(tmp_path / "a.sqlite").means(loaded_byte_model, PROMPT, [long], POINTS)
    assert read.isfinite().all()


def test_nothing_is_read_of_nobody(tiny, tmp_path, reads):
    read = KeptActivations(tmp_path / "a.sqlite").means(tiny, PROMPT, [], POINTS)
    assert read.shape == (0, 2, tiny.hf.config.hidden_size) and not reads


def test_a_file_of_something_else_is_refused(tiny, tmp_path):
    path = tmp_path / "a.sqlite"
    path.write_text("years of work" * 100)
    with pytest.raises(TrimtabError, match="cannot use .*a.sqlite for the activations of texts"):
        KeptActivations(path).means(tiny, PROMPT, TEXTS, POINTS)
