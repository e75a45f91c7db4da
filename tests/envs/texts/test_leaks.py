import random

import pytest

from trimtab.envs.texts.leaks import Text, Unseen, is_same_text, words

ARTICLE = "The mayor opened the new bridge over the river on Sunday."
LONG = " ".join(f"word{n}" for n in range(30))


@pytest.mark.parametrize(
    ("past", "test"),
    [
        pytest.param(Text(ARTICLE, "A"), Text(ARTICLE.upper(), "B"), id="the body in capitals"),
        pytest.param(
            Text("Tom &amp; Ann: a story", "A"), Text("tom & ann - a story", "B"), id="HTML"
        ),
        pytest.param(Text("", "so tired!"), Text("", "So tired"), id="the output, without a body"),
        pytest.param(Text("", "so tired"), Text("How I am tired", "so tired"), id="one body alone"),
        pytest.param(
            Text(ARTICLE + " More soon.", "Bridge Opens"),
            Text(ARTICLE, "bridge opens"),
            id="the same output over nearly the same body",
        ),
        pytest.param(
            Text("title", LONG + " and more"), Text("other", LONG), id="long outputs nearly equal"
        ),
    ],
)
def test_the_same_text_is_found(past, test):
    assert is_same_text(past, test)
    assert is_same_text(test, past)


@pytest.mark.parametrize(
    ("past", "test"),
    [
        pytest.param(
            Text(ARTICLE, "Sunday Roundup"),
            Text("A cat was found in a tree.", "Sunday Roundup"),
            id="a column's name over another article",
        ),
        pytest.param(Text("", ""), Text("", ""), id="nothing"),
        pytest.param(Text("", "so tired"), Text("", "so tired today"), id="short outputs alike"),
        pytest.param(
            Text("good lamp", "5"), Text("poor lamp that broke", "5"), id="the same label"
        ),
        pytest.param(
            Text("", LONG), Text("", LONG.replace("word1", "other")), id="long outputs that differ"
        ),
    ],
)
def test_what_is_alike_is_not_the_same(past, test):
    assert not is_same_text(past, test)


def test_words_are_without_case_and_punctuation():
    assert words("It&#39;s  5-A, OK?") == ("it", "s", "5", "a", "ok")


def test_texts_that_no_past_may_hold_are_found_without_comparing_all_with_all():
    draw = random.Random(0)
    vocabulary = [f"{'long' * (n % 4)}{n}" for n in range(60)]

    def drawn(count):
        return draw.sample(vocabulary, count)

    def altered(words, count):
        return [*words[count:], *draw.choices(vocabulary, k=count)]

    texts = []
    for _ in range(60):
        body, output = drawn(draw.choice([0, 1, 6])), drawn(draw.choice([1, 2, 22, 36]))
        for changes in range(6):
            kept = draw.choice([body, altered(body, min(changes, len(body)))])
            texts.append(Text(" ".join(kept), " ".join(altered(output, min(changes, 5)))))
    tests, past = texts[::6], [text for n, text in enumerate(texts) if n % 6]
    unseen = Unseen(tests)
    found = [unseen.holds(text) for text in past]
    assert found == [any(is_same_text(text, test) for test in tests) for text in past]
    assert 50 < sum(found) < 250
