"""Texts of any script have tokens; those of ASCII texts are the rouge-score package's own."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.tokenize import tokenize

from trimtab.eval.metrics import METRICS, benchmark_scores, rouge
from trimtab.eval.rouge_tokens import rouge_tokens
from trimtab.words import words_of

TEXTS = {
    "Spanish": "la canción está aquí",
    "Russian": "снег идёт",
    "Greek": "ήσυχη θάλασσα",
    "Hindi": "नमस्ते दुनिया",
    "Tamil": "அமைதியான கடல்",
    "Arabic": "بحر هادئ",
    "Hebrew": "ים שקט",
    "Korean": "조용한 바다",
    "Thai": "ทะเลสงบ",
    "Lao": "ທະເລ",
    "Khmer": "សមុទ្រ",
    "Burmese": "ပင်လယ်",
    "Chinese": "大海很平静",
    "Japanese": "静かなウミ",
    "emoji": "🌊👍🏽👩‍🚀🇯🇵❤️",
    "symbols": "♪ € → ★",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("kind", ["rouge1", "rougeL"])
def test_a_text_of_any_script_is_wholly_like_itself(text, kind):
    assert rouge(text, text, kind) == pytest.approx(1.0)
    assert rouge("", text, kind) == 0.0
    assert rouge("quite another thing", text, kind) == 0.0


@given(st.text(st.characters(max_codepoint=127), max_size=60))
def test_of_ascii_texts_the_tokens_are_rouge_scores_own(text):
    assert rouge_tokens(text) == tokenize(text, None)
    # By the way of other scripts too, so that one accent changes no other word.
    assert words_of(text) == tokenize(text, None)


@given(st.text(max_size=40))
def test_any_text_has_tokens_that_its_two_ways_of_writing_share(text):
    composed, apart = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    assert rouge_tokens(composed) == rouge_tokens(apart)
    assert all(rouge_tokens(text))


def test_accents_count():
    assert rouge_tokens("está, ESTÁ") == ["está", "está"]
    assert rouge("el niño est aquí", "el niño está aquí", "rouge1") == pytest.approx(0.75)
    assert rouge_tokens("cafe\u0301") == rouge_tokens("caf\u00e9") == ["café"]


def test_scripts_without_spaces_are_counted_by_character():
    assert rouge_tokens("大海 2 seas") == ["大", "海", "2", "seas"]
    assert rouge_tokens("सं तु") == ["सं", "तु"]  # a word keeps its marks
    assert rouge_tokens("ที่") == ["ที่"]  # so does a character
    assert rouge("大海", "大河", "rouge1") == pytest.approx(0.5)


def test_an_emoji_is_one_token_with_all_that_it_is_joined_of():
    assert rouge_tokens("ok👩‍🚀👍🏽👍🇯🇵") == ["ok", "👩‍🚀", "👍🏽", "👍", "🇯🇵"]


def test_the_benchmarks_own_number_stands_beside_ours():
    output, gold = "das Meer ist schön", "das Meer war schön"
    ours = {"rouge-1": METRICS["rouge-1"].score(output, gold), "log-likelihood": -1.0}
    # To the benchmark "schön" is the two words "sch" and "n".
    assert ours["rouge-1"] == 0.75
    assert benchmark_scores(ours, output, gold) == {"rouge-1-ascii": pytest.approx(0.8)}
    plain = {"rouge-l": METRICS["rouge-l"].score("a b", "a c")}
    assert benchmark_scores(plain, "a b", "a c") == {"rouge-l-ascii": plain["rouge-l"]}
    assert benchmark_scores({"function": 1.0, "rouge-2": None}, "a", "") == {"rouge-2-ascii": None}


def test_labels_that_unicode_writes_in_two_ways_are_one():
    composed, apart = (unicodedata.normalize(form, "poésie") for form in ("NFC", "NFD"))
    assert METRICS["accuracy"].score(composed, apart) == 1.0
    assert METRICS["macro-f1"].total([(composed, apart), (apart, composed)]) == 1.0
