"""Words of every script, and who counts and compares them."""

import pytest

from trimtab.envs.texts.leaks import Text, is_same_text
from trimtab.envs.texts.leaks import words as leak_words
from trimtab.steering.contrast.relevance import _terms, by_bm25
from trimtab.tools import SearchIndex
from trimtab.tools.shop.search import words as search_terms
from trimtab.words import words_of


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Hello, World 2x!", ["hello", "world", "2x"]),
        ("¡Está aquí!", ["está", "aquí"]),
        ("हिन्दी किताब।", ["हिन्दी", "किताब"]),
        ("می‌خواهم", ["می‌خواهم"]),
        ("Привет, мир", ["привет", "мир"]),
        ("紅い傘", ["紅", "い", "傘"]),
        ("ok 👩‍👩‍👧", ["ok", "👩‍👩‍👧"]),
        ("", []),
    ],
)
def test_a_word_is_whole_and_a_script_without_spaces_falls_into_characters(text, wanted):
    assert words_of(text) == wanted


RETRIEVED = {
    "hi": ("हिन्दी की किताब", "लाल दीपक", "नई किताब"),
    "zh": ("红色羊毛围巾", "蓝色的杯子", "一条羊毛围巾"),
    "ja": ("羊毛のマフラー", "青いカップ", "マフラーが欲しい"),
    "th": ("ผ้าพันคอขนแกะ", "ถ้วย", "ผ้าพันคอ"),
    "en": ("a wool scarf", "blue cups", "the scarf"),
}


@pytest.mark.parametrize("script", RETRIEVED)
def test_what_shares_words_is_found_in_every_script(script):
    like, unlike, query = RETRIEVED[script]
    scores = by_bm25()([unlike, like, query], [0, 1, 2])[2]
    assert scores[1] > scores[0]
    found = SearchIndex.build({"unlike": unlike, "like": like}).search(query)
    assert found[0] == "like"


def test_ascii_terms_stay_those_of_bm25s_and_lucene():
    import bm25s

    texts = ["The red lamp, on a_b table 5", "two Lamps are x1 -- and more"]
    wanted = bm25s.tokenize(texts, return_ids=False, show_progress=False)
    assert [_terms(text) for text in texts] == wanted
    assert search_terms("PlayStation 5's 2.5 mm") == ["playstat", "5", "2.5", "mm"]
    assert leak_words("It's &amp; x_y") == ("it", "s", "x_y")


def test_a_text_met_again_is_told_where_words_have_no_spaces():
    body = "今日は雨が降っていて、家で本を読みながら静かに過ごしました。"
    assert is_same_text(Text("", body), Text("", body.replace("静か", "穏か")))
    assert not is_same_text(
        Text("", body), Text("", "明日は晴れるそうなので山へ行って写真を撮るつもりです。")
    )
