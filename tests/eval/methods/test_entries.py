"""Kept entries against a dictionary that is built at once; and that little is read twice."""

import pytest
import torch

from trimtab.eval.methods import entries
from trimtab.eval.methods.entries import kept_dictionaries, one_after_another
from trimtab.steering import ContrastPair, Exchange, Point, SteeredModel, SteeringDictionary


def ask(text):
    return [{"role": "user", "content": text}]


def pairs_of(user, count=3, contrast="response"):
    return [
        ContrastPair(
            f"{user}{n}", f"{user} asks {n}", Exchange(ask(f"{user} {n}"), f"yes {user}"),
            Exchange(ask(f"{user} {n}"), f"no {n}"), contrast, n,
        )
        for n in range(count)
    ]  # fmt: skip


PAIRS = {"ann": pairs_of("ann"), "bob": pairs_of("bob", 2), "nobody": []}


@pytest.fixture
def reads(monkeypatch):
    """Which layers were read, of how many answers, at every reading."""
    found = []
    real = SteeredModel.mean_activations

    def read(self, exchanges, points, **how):
        found.append((sorted({p.layer for p in points}), len(exchanges)))
        return real(self, exchanges, points, **how)

    monkeypatch.setattr(SteeredModel, "mean_activations", read)
    return found


def test_equals_a_dictionary_built_at_once_and_reads_only_what_is_missing(
    byte_model, tmp_path, reads
):
    def kept(layers, pairs=PAIRS):
        return kept_dictionaries(byte_model, pairs, layers=layers, keys="input", folder=tmp_path)

    assert set(kept([1])) == {"ann", "bob"}
    assert reads == [([1], 10)]
    both = kept([1, 3])
    assert reads[1:] == [([3], 10)]
    again = kept([3, 1])
    assert len(reads) == 2
    more = kept([1, 3], {**PAIRS, "eve": pairs_of("eve", 1)})
    assert reads[2:] == [([1, 3], 2)]
    for found in (both, again, more):
        for user in ("ann", "bob"):
            expected = SteeringDictionary.build(
                byte_model, PAIRS[user], user_id=user, layers=[1, 3],
                sites=("attn", "mid", "mlp", "block"),
            )  # fmt: skip
            assert found[user].points == expected.points and found[user].user_id == user
            assert found[user].entries == expected.entries
            torch.testing.assert_close(found[user].vectors, expected.vectors, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(found[user].keys, expected.keys)


def test_other_pairs_keys_or_weights_are_read_anew(byte_model, tmp_path, reads):
    def kept(pairs, keys="input", variant=""):
        return kept_dictionaries(
            byte_model, {"ann": pairs}, layers=[1], keys=keys, folder=tmp_path, variant=variant
        )

    kept(PAIRS["ann"])
    kept(PAIRS["ann"][:2])
    kept(PAIRS["ann"], keys="input+answer")
    kept(PAIRS["ann"], variant="adapter")
    assert len(reads) == 4


def test_a_broken_file_is_read_anew(byte_model, tmp_path, reads):
    first = kept_dictionaries(byte_model, PAIRS, layers=[1], keys="input", folder=tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[:50])
    again = kept_dictionaries(byte_model, PAIRS, layers=[1], keys="input", folder=tmp_path)
    assert len(reads) == 2
    torch.testing.assert_close(again["ann"].vectors, first["ann"].vectors)


def test_entries_of_both_kinds_in_one(byte_model, tmp_path):
    response, context = (
        kept_dictionaries(
            byte_model, {"ann": pairs_of("ann", 2, kind)}, layers=[2], keys="input", folder=tmp_path
        )["ann"]
        for kind in ("response", "context")
    )
    both = one_after_another([response, context])
    assert [e.contrast for e in both.entries] == ["response"] * 2 + ["context"] * 2
    assert both.vectors.shape == (4, 4, 32) and both.points[0] == Point(2, "attn")
    torch.testing.assert_close(both.vectors[2:], context.vectors)


def test_how_far_it_is_is_told_after_each_batch_of_pairs(byte_model, tmp_path, monkeypatch, reads):
    monkeypatch.setattr(entries, "_PAIRS_AT_ONCE", 3)
    counts = {"a": 2, "b": 2, "c": 3, "d": 1}
    pairs = {name: pairs_of(name, count) for name, count in counts.items()}
    told = []
    made = kept_dictionaries(
        byte_model, pairs, layers=[1], keys="input", folder=tmp_path, progress=told.append
    )
    assert told == [2, 1, 1] and len(reads) == 3
    assert {user: len(each.entries) for user, each in made.items()} == counts
