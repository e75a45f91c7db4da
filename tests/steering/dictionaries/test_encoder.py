"""The sentence encoder: unit vectors, one instance a process, clear refusals."""

import pytest
import torch

from trimtab import TrimtabError
from trimtab.steering import Encoder, load_encoder


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder()


def test_rows_are_unit_vectors_of_their_text_alone(encoder: Encoder) -> None:
    texts = ["a red lamp", "a sailing boat in a storm, far from any harbour", "", "a red lamp"]
    found = encoder.encode(texts)
    assert found.shape == (4, 384) and found.dtype == torch.float32
    torch.testing.assert_close(found.norm(dim=1), torch.ones(4))
    torch.testing.assert_close(found[0], found[3], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[1], encoder.encode(texts[1:2])[0], atol=1e-5, rtol=1e-5)
    assert encoder.encode([]).shape == (0, 384)


def test_similarity_is_the_cosine(encoder: Encoder) -> None:
    near = encoder.similarity("a lamp for my desk", "desk lamp")
    far = encoder.similarity("a lamp for my desk", "how to cook rice")
    one, other = encoder.encode(["a lamp for my desk", "desk lamp"])
    assert near == pytest.approx(float(one @ other), abs=1e-5)
    assert near > 0.7 > far + 0.3


def test_reads_512_tokens(encoder: Encoder) -> None:
    words = ["wool"] * 505  # about a token each, and two marks
    alike = encoder.similarity(" ".join(words), " ".join([*words[:300], *["harbour"] * 205]))
    beyond = " ".join([*words, *["wool"] * 5])
    assert alike < 0.99
    assert encoder.similarity(beyond, beyond + " harbour" * 50) == pytest.approx(1, abs=1e-5)


def test_is_loaded_once(encoder: Encoder) -> None:
    assert load_encoder() is encoder


def test_an_unknown_name_is_refused(tmp_path) -> None:
    for name in (str(tmp_path / "nothing"), "nobody/no-such-encoder"):
        with pytest.raises(TrimtabError, match="cannot load the sentence encoder") as caught:
            load_encoder(name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
