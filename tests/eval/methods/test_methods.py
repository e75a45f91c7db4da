"""What each method asks for: prompts and vectors against what the paper says and users did."""

from dataclasses import replace

import pytest
import torch

from trimtab.errors import TrimtabError
from trimtab.eval.methods.registry import get_method
from trimtab.eval.task import Item
from trimtab.eval.texts.kinds import get_task
from trimtab.eval.texts.task import prompt_of
from trimtab.eval.texts.users import TextUsers
from trimtab.steering.dictionaries.derangement import derangement

USERS = ("ann", "bob", "cat", "dan")


@pytest.fixture
def prepared(byte_model, writers, tmp_path):
    task = replace(get_task("headlines"), max_new_tokens=6, rejected_below=1.0)
    return TextUsers(byte_model, task, writers, folder=tmp_path)


def asked(prepared, name, **options):
    """What a method asks for each user's test."""
    treat = get_method(name, options).prepare(prepared)
    samples = {sample.user_id: sample for sample in prepared.samples()}
    return {user: prompt_of(prepared, Item("", s, treat(s))) for user, s in samples.items()}


def treated(prepared, name, **options):
    """What a method does for each user's test."""
    treat = get_method(name, options).prepare(prepared)
    return {sample.user_id: treat(sample) for sample in prepared.samples()}


def content(one):
    return one.fitted.messages[1]["content"]


def entries(prepared, kind, user, site="mid", layer=2):
    """A user's vectors of one kind at one point, and their keys."""
    dictionary = prepared.dictionaries(kind, layers=[layer])[user]
    place = [tuple(point) for point in dictionary.points].index((layer, site))
    return dictionary.vectors[:, place], dictionary.keys


def only(steering):
    """The one vector of a steering at one point, strength in."""
    [(point, vector)] = steering.vectors.values.items()
    return steering.strength_at(point.site) * vector


ONE = {"sites": "mid", "depths": 0.5}  # layer 2 of 4


def test_prompts_of_the_methods_without_steering(prepared):
    zero = asked(prepared, "zero-shot")["ann"]
    assert content(zero) == prepared.users["ann"].tests[0].input
    rag = asked(prepared, "rag", k=2, by="recency")["ann"]
    assert "- aaa says 4\n- aaa says 5\n\nAsk: aaa now" in content(rag)
    shown = treated(prepared, "rag", k=2, by="recency")["ann"].shown
    assert [past.id for past in shown] == ["ann5", "ann4"]
    both = asked(prepared, "rag", k=1, by="recency", show="both")["ann"]
    assert "- Ask: aaa 5 about z\n  aaa says 5" in content(both)
    cos = asked(prepared, "cos", k=2, by="recency", strength=0.3)["ann"]
    assert content(cos) == content(rag) and cos.without.messages == zero.fitted.messages
    assert cos.guidance == 0.3
    assert all(one.steering is None for one in (zero, rag, cos))


def test_a_profile_is_written_from_the_users_own_past_alone(prepared, monkeypatch):
    seen = []
    real = TextUsers.answers

    def answers(self, what, prompts, **how):
        seen.extend(prompts)
        return (
            [["likes brevity"]] * len(prompts)
            if what == "profiles"
            else real(self, what, prompts, **how)
        )

    monkeypatch.setattr(TextUsers, "answers", answers)
    found = asked(prepared, "pag", samples=2, k=1)
    assert "likes brevity" in content(found["bob"]) and "- bbb says" in content(found["bob"])
    for prompt, word in zip(seen, ["aaa", "bbb", "ccc", "ddd"], strict=True):
        text = prompt[1]["content"]
        assert f"{word} says 4" in text and f"{word} says 5" in text
        assert f"{word} says 3" not in text
        assert not any(other in text for other in {"aaa", "bbb", "ccc", "ddd"} - {word})


def test_a_profile_is_written_from_as_much_as_fits_the_context(byte_model, prepared, monkeypatch):
    prepared.prompt = replace(prepared.prompt, context=330)
    for user, one in treated(prepared, "pag", samples=6, tokens=8).items():
        assert 0 < one.detail["profile_from"] < 6, user
    seen = []
    monkeypatch.setattr(
        TextUsers, "answers", lambda s, w, prompts, **how: seen.extend(prompts) or [[""]] * 4
    )
    asked(prepared, "pag", samples=6, tokens=8)
    assert all(len(byte_model.prompt_tokens(prompt)) <= 330 - 8 for prompt in seen)
    assert all("says 5" in prompt[1]["content"] for prompt in seen)  # the latest stay


def test_fints_is_the_attentive_sum_of_own_entries(prepared, letters):
    found = asked(prepared, "fints", k=6, temperature=0.2, strength=1.5, **ONE)
    for user, one in found.items():
        vectors, keys = entries(prepared, "response", user)
        query = letters.encode([prepared.users[user].tests[0].input])[0]
        weights = (keys @ query / 0.2).softmax(0)
        expected = 1.5 * (weights[:, None] * vectors).sum(0)
        torch.testing.assert_close(only(one.steering), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["fints", "stylevector"])
def test_the_population_is_the_mean_of_all_others_entries(prepared, name):
    kind = "response" if name == "fints" else "neutral"
    found = asked(prepared, f"{name}-population", **ONE)
    for user, one in found.items():
        others = torch.cat([entries(prepared, kind, other)[0] for other in USERS if other != user])
        torch.testing.assert_close(only(one.steering), others.mean(0), atol=1e-4, rtol=1e-4)
        assert one.steering.picked == ()


def test_another_users_dictionary_is_lent_by_derangement(prepared):
    own = asked(prepared, "stylevector", **ONE)
    other = asked(prepared, "stylevector-other", **ONE)
    lender = derangement(USERS, prepared.seed)
    for user in USERS:
        mine = entries(prepared, "neutral", user)[0].mean(0)
        torch.testing.assert_close(only(own[user].steering), mine, atol=1e-4, rtol=1e-4)
        theirs = entries(prepared, "neutral", lender[user])[0].mean(0)
        torch.testing.assert_close(only(other[user].steering), theirs, atol=1e-4, rtol=1e-4)
    fints = asked(prepared, "fints-other", **ONE)
    for user in USERS:
        assert all(
            picked.entry.sample_id.startswith(lender[user])
            for picked in fints[user].steering.picked
        )


def test_two_parts_are_the_others_mean_and_what_sets_the_user_apart(prepared):
    options = {"collective": 2, "personal": 3, "aggregate": "naive", **ONE}
    own = asked(prepared, "two-part", **options)
    alone = asked(prepared, "two-part-population", **options)
    for user in USERS:
        others = [other for other in USERS if other != user]
        collective = 2 * torch.cat([entries(prepared, "response", o)[0] for o in others]).mean(0)
        torch.testing.assert_close(only(alone[user].steering), collective, atol=1e-4, rtol=1e-4)
        theirs = torch.cat([entries(prepared, "context", o)[0] for o in others]).mean(0)
        personal = 3 * (entries(prepared, "context", user)[0].mean(0) - theirs)
        torch.testing.assert_close(
            only(own[user].steering), collective + personal, atol=1e-3, rtol=1e-3
        )
    # Of `fints` the contrast is that of the personal part, and what is not wanted is not read.
    mixed = asked(prepared, "fints", contrast="response", **options)
    responses = torch.cat([entries(prepared, "response", o)[0] for o in ("bob", "cat", "dan")])
    apart = entries(prepared, "response", "ann")[0].mean(0) - responses.mean(0)
    torch.testing.assert_close(
        only(mixed["ann"].steering), 2 * responses.mean(0) + 3 * apart, atol=1e-3, rtol=1e-3
    )
    same = asked(prepared, "fints", contrast="any", **options)
    torch.testing.assert_close(only(same["ann"].steering), only(own["ann"].steering))


def test_without_a_personal_part_no_context_contrast_is_read(prepared, monkeypatch):
    kinds = []
    real = TextUsers.dictionaries
    monkeypatch.setattr(
        TextUsers,
        "dictionaries",
        lambda self, kind, **how: kinds.append(kind) or real(self, kind, **how),
    )
    asked(prepared, "two-part", personal=0, **ONE)
    assert kinds == ["response"]


@pytest.mark.parametrize("sites", ["attn", "mid", "mlp", "attn+mlp", "mid+mlp", "block"])
@pytest.mark.parametrize("contrast", ["response", "context", "any"])
def test_every_site_and_contrast(prepared, sites, contrast):
    found = asked(prepared, "fints", sites=sites, contrast=contrast, depths="0.3+0.8", context=1)
    one = found["cat"]
    assert {point.site for point in one.steering.vectors.points} == set(sites.split("+"))
    assert {point.layer for point in one.steering.vectors.points} == {1, 3}
    kinds = {picked.entry.contrast for picked in one.steering.picked}
    assert kinds <= ({"response", "context"} if contrast == "any" else {contrast})
    assert "From the same person" in content(one)


def test_a_user_without_a_past_is_asked_unsteered(byte_model, writers, tmp_path):
    users = (*writers, replace(writers[0], id="new", history=()))
    task = replace(get_task("headlines"), max_new_tokens=6, rejected_below=1.0)
    prepared = TextUsers(byte_model, task, users, folder=tmp_path)
    for name in ("fints", "fints-other", "fints-population", "stylevector", "two-part", "pag"):
        one = asked(prepared, name, **({"depths": 0.5} if name != "pag" else {}))["new"]
        assert one.steering is None and content(one) == users[-1].tests[0].input


def test_what_has_no_input_is_asked_for_by_a_neutral_rewriting(byte_model, writers, tmp_path):
    task = replace(get_task("lamp-7"), max_new_tokens=6)
    words = ["tea", "rain", "trains", "cats", "bread", "chess"]
    silent = [
        replace(
            user,
            history=tuple(
                replace(s, input="", output=f"{s.output} {word}")
                for s, word in zip(user.history, words, strict=True)
            ),
        )
        for user in writers
    ]
    prepared = TextUsers(byte_model, task, silent, folder=tmp_path)
    assert prepared.instruction.startswith("Paraphrase the following tweet")
    for user in USERS:
        for sample, given in zip(prepared.past[user], prepared.users[user].history, strict=True):
            assert sample.input.startswith(prepared.instruction) and sample.output == given.output
            assert sample.output not in sample.input
    # Keys and queries leave out what all requests have in common.
    pairs = prepared.pairs("response")["ann"]
    assert not any(pair.request.startswith("Paraphrase") for pair in pairs)
    assert all(pair.positive.messages[1]["content"].startswith("Paraphrase") for pair in pairs)
    # Without inputs, what was written is what a request is compared with.
    near = prepared.nearest(replace(prepared.samples()[0], request="so many cats"), "bm25", 1)
    assert [sample.id for sample in near] == ["ann3"]


def test_what_counts_as_rejected_is_an_option(prepared):
    every = prepared.pairs("response", below=1.0)
    none = prepared.pairs("response", below=0.0)
    assert sum(map(len, every.values())) > 20 and not any(none.values())
    with pytest.raises(TrimtabError, match="no user has a contrast pair"):
        asked(prepared, "fints", below=0.0, **ONE)


@pytest.mark.parametrize("name", ["two-part", "fints-population", "stylevector-population"])
def test_nobody_else_to_take_a_mean_of_is_told_at_once(byte_model, writers, tmp_path, name):
    task = replace(get_task("headlines"), max_new_tokens=6, rejected_below=1.0)
    alone = TextUsers(byte_model, task, writers[:1], folder=tmp_path)
    with pytest.raises(TrimtabError, match="at least two users .* got 1; take more users"):
        get_method(name, dict(ONE)).prepare(alone)


def test_a_text_too_long_to_rewrite_is_cut_to_the_context(
    byte_model, writers, tmp_path, monkeypatch
):
    task = replace(get_task("lamp-7"), max_new_tokens=6)
    past = replace(writers[0].history[0], input="", output="tea " * 200)
    silent = [replace(user, history=(past, *user.history[1:])) for user in writers]
    prepared = TextUsers(byte_model, task, silent, folder=tmp_path, context=300)
    seen = []
    monkeypatch.setattr(
        prepared,
        "answers",
        lambda what, prompts, **how: seen.extend(prompts) or [["x"]] * len(prompts),
    )
    assert prepared.past["ann"][0].output == past.output  # only what it is rewritten from is cut
    lengths = [len(byte_model.prompt_tokens(prompt)) for prompt in seen]
    assert max(lengths) <= 294 and "tea tea" in seen[0][1]["content"]
