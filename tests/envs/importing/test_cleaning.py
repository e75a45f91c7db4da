import pytest

from trimtab.envs.importing.cleaning import (
    clean_details,
    clean_id,
    clean_price,
    clean_text,
    clean_texts,
    clean_time,
)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("<b>Dad&#39;s</b>   mug <br/>I <3 it", "Dad's mug I <3 it"),
        ("AT&amp;amp;T", "AT&T"),
        ("a < b > c", "a < b > c"),
        ('<div class="x">cut <a href="foo', "cut"),
        ("x<script>var a = '<b>';</script>y<style>p {}</style>", "x y"),
        ("x<script>never closed", "x"),
        ('<img src="a" alt="AMAZON FASHION"/>', "AMAZON FASHION"),
        ('see <img alt="a picture"> this', "see this"),
        ("zero\u200bwidth\x07bell\u00a0space", "zerowidthbell space"),
        ("var aPageStart = (new Date()).getTime();", ""),
        ("&lt;b&gt;bold&lt;/b&gt;", "bold"),
        (None, ""),
        (5, "5"),
        ([1], ""),
    ],
)
def test_text(raw, clean):
    assert clean_text(raw) == clean


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("$25.00 - $1,100.00", 25.0),
        ("$10 to $20", 10.0),
        ("from 12.99", 12.99),
        ("US$5.00", 5.0),
        ("15.00 USD", 15.0),
        ("£3", 3.0),
        ("12,50 €", 12.5),
        ("1.250,00 €", 1250.0),
        ("$1,250.00", 1250.0),
        ("1,2,3", None),
        ("see cart", None),
        (".a-box-inner{background-color:#fff} $25", None),
        ("3 for $10", None),
        ("None", None),
        ("", None),
        (0, None),
        (-3, None),
        ("nan", None),
        (float("inf"), None),
        (True, None),
        (12.99, 12.99),
    ],
)
def test_price(raw, clean):
    assert clean_price(raw) == clean


JUNE = 1_529_193_600_000


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        (1_529_193_600, JUNE),
        ("1529193600", JUNE),
        (JUNE + 123, JUNE + 123),
        ("06 17, 2018", JUNE),
        ("2018-06-17", JUNE),
        ("2018-06-17T02:00:00+02:00", JUNE),
        ("6/17/2018", JUNE),
        ("June 17, 2018", JUNE),
        ("yesterday", None),
        ("1969-01-01", None),
        (0, None),
        (None, None),
        (True, None),
    ],
)
def test_time(raw, clean):
    assert clean_time(raw) == clean


def test_lists_come_as_lists_as_json_or_as_text():
    assert clean_texts(["<b>a</b>", "", "a", None, "b"]) == ["a", "b"]
    assert clean_texts('["a", "b"]') == ["a", "b"]
    assert clean_texts("[sic] a") == ["[sic] a"]
    assert clean_texts(None) == []


def test_details_lose_their_colons_their_ids_and_what_is_empty():
    raw = {"\n Weight: \n": "3 ounces (", "ASIN: ": "B1", "Colour": "", "Rank": {"Toys": 3}}
    assert clean_details(raw) == {"Weight": "3 ounces", "Rank": '{"Toys": 3}'}
    assert clean_details('{"Weight": "3 ounces"}') == {"Weight": "3 ounces"}
    assert clean_details("heavy") == {"Details": "heavy"}
    assert clean_details(None) == {}


@pytest.mark.parametrize(
    ("raw", "clean"),
    [(" B1 ", "B1"), ("SKU 12  a", "SKU-12-a"), (17, "17"), (17.0, "17"), ("", None), (None, None),
     ("x" * 65, None), (["a"], None)],
)  # fmt: skip
def test_an_id_is_one_word(raw, clean):
    assert clean_id(raw) == clean
