"""What is personal in the gazette shows, and what is not does not."""

import random
import re
from dataclasses import replace

import pytest

from trimtab.envs.texts.lamp import LAMP, load_lamp
from trimtab.envs.texts.longlamp import load_longlamp
from trimtab.envs.worlds.gazette import (
    GazetteSize,
    abstract_style,
    abstracts,
    headline_style,
    headlines,
    save_gazette,
)
from trimtab.envs.worlds.gazette.abstract_styles import AbstractStyle, write_abstract
from trimtab.envs.worlds.gazette.beats import BEATS, draw_story, past, third, write_article
from trimtab.envs.worlds.gazette.headline_styles import FORMS, HeadlineStyle, write_headline
from trimtab.envs.worlds.gazette.papers import FIELDS, draw_paper
from trimtab.errors import TrimtabError

SMALL = GazetteSize(authors=6, history=8, tests=2)


@pytest.mark.parametrize("make", [headlines, abstracts])
def test_the_arguments_decide_and_authors_do_not_depend_on_each_other(make):
    assert make(SMALL, seed=1).fingerprint == make(SMALL, seed=1).fingerprint
    assert make(SMALL, seed=1).fingerprint != make(SMALL, seed=2).fingerprint
    more = make(replace(SMALL, authors=9), seed=1)
    assert more.users[:6] == make(SMALL, seed=1).users


@pytest.mark.parametrize("make", [headlines, abstracts])
def test_sizes_and_times(make):
    data = make(SMALL)
    assert len(data.users) == 6
    assert all(len(user.tests) == 2 for user in data.users)
    assert data.samples + sum(data.about["left_out"].values()) == 48
    for user in data.users:
        times = [sample.timestamp for sample in (*user.history, *user.tests)]
        assert times == sorted(set(times))


def test_what_is_saved_is_loaded(tmp_path):
    files = save_gazette(tmp_path, SMALL, seed=3)
    assert {file.name for file in files} == {
        "dev_questions.json", "dev_outputs.json", "test.jsonl"
    }  # fmt: skip
    assert load_lamp(tmp_path, LAMP["headlines"]).users == headlines(SMALL, seed=3).users
    assert load_longlamp(tmp_path).users == abstracts(SMALL, seed=3).users


def test_one_kind_alone_is_saved(tmp_path):
    save_gazette(tmp_path, SMALL, kinds=["abstracts"])
    assert [path.name for path in tmp_path.iterdir()] == ["abstracts"]


STYLE = HeadlineStyle(
    form="question",
    other_form="statement",
    ways={"question": FORMS["question"][:1], "statement": FORMS["statement"][:1]},
    colon="",
    adverb="boldly",
    adjective="tiny",
    length="short",
    case="sentence",
    end="!",
)
STORY = replace(
    draw_story(random.Random(0), BEATS[0]),
    actor="mayor",
    verb="delay",
    thing="the river bridge",
    place="Dunmore",
)


@pytest.mark.parametrize(
    ("changes", "headline"),
    [
        ({}, "Why would the mayor boldly delay the river bridge?"),
        ({"form": "statement"}, "Mayor boldly delays the river bridge!"),
        ({"form": "statement", "end": ""}, "Mayor boldly delays the river bridge"),
        ({"adverb": "simply"}, "Why would the mayor simply delay the river bridge?"),
        ({"case": "title"}, "Why Would the Mayor Boldly Delay the River Bridge?"),
        ({"case": "lower"}, "why would the mayor boldly delay the river bridge?"),
        ({"colon": "beat"}, "City hall: why would the mayor boldly delay the river bridge?"),
        ({"length": "medium"}, "Why would the mayor boldly delay the river bridge in Dunmore?"),
        (
            {"length": "medium", "colon": "place"},
            "Dunmore: why would the mayor boldly delay the river bridge?",
        ),
    ],
)
def test_each_habit_of_a_headline_shows(changes, headline):
    written = write_headline(random.Random(1), STORY, replace(STYLE, **changes), habit=1.0)
    assert written == headline


def test_long_headlines_say_what_for():
    written = write_headline(random.Random(1), STORY, replace(STYLE, length="long"), habit=1.0)
    assert written.endswith(f"in Dunmore to {STORY.effect}?")


def test_habits_are_followed_as_often_as_asked():
    rng = random.Random(2)
    written = [write_headline(rng, STORY, STYLE, habit=0.8) for _ in range(2000)]
    asked = sum(headline.endswith("?") for headline in written) / len(written)
    assert asked == pytest.approx(0.8, abs=0.03)
    pet = sum("boldly" in headline for headline in written) / len(written)
    assert pet == pytest.approx(0.8, abs=0.03)


def test_every_way_of_every_form_reads_well():
    for form, ways in FORMS.items():
        for way in ways:
            for beat in BEATS:
                for verb, thing in beat.actions:
                    story = replace(draw_story(random.Random(3), beat), verb=verb, thing=thing)
                    style = replace(STYLE, form=form, ways={form: (way,), STYLE.other_form: (way,)})
                    text = write_headline(random.Random(4), story, style, habit=1.0)
                    assert "{" not in text and "  " not in text
                    assert not re.search(r"\b(\w+) \1\b", text), text


def test_the_article_says_all_that_a_headline_can_and_nothing_of_its_style():
    rng = random.Random(5)
    for beat in BEATS:
        story = draw_story(rng, beat)
        article = write_article(rng, story)
        for fact in (story.actor, story.thing, story.effect, story.place, str(story.count)):
            assert fact in article
        assert past(story.verb) in article
    texts = {user.id: [s.input for s in user.history] for user in headlines(SMALL).users}
    for index, inputs in enumerate(texts.values()):
        style = headline_style(index)
        assert not any(style.adverb in text.split() for text in inputs)


def test_each_author_has_a_style_of_their_own_and_keeps_to_it():
    data = headlines(GazetteSize(authors=12, history=40, habit=0.9))
    styles = [headline_style(index) for index in range(12)]
    assert len({(s.adverb, s.adjective, s.form, s.case) for s in styles}) == 12
    kept = sum(
        style.adverb in sample.output.lower() or style.adjective in sample.output.lower()
        for style, user in zip(styles, data.users, strict=True)
        for sample in user.history
    )
    assert kept / data.samples == pytest.approx(0.9, abs=0.05)
    marks = [abstract_style(index).marker for index in range(12)]
    papers = abstracts(GazetteSize(authors=12, history=20))
    assert all(
        sum(marker in s.output.lower() for s in user.history) > len(user.history) / 2
        for marker, user in zip(marks, papers.users, strict=True)
    )


@pytest.mark.parametrize(
    ("verb", "now", "then"),
    [
        ("delay", "delays", "delayed"),
        ("study", "studies", "studied"),
        ("launch", "launches", "launched"),
        ("approve", "approves", "approved"),
        ("ban", "bans", "banned"),
        ("teach", "teaches", "taught"),
    ],
)
def test_verbs(verb, now, then):
    assert (third(verb), past(verb)) == (now, then)


ABSTRACT = AbstractStyle(
    opening="problem",
    voice="we",
    link="Here, ",
    marker="notably",
    numerals=True,
    hedged=False,
    labelled=False,
    extras=0,
    closing="",
)
PAPER = draw_paper(random.Random(0), FIELDS[0])


@pytest.mark.parametrize(
    ("changes", "has", "lacks"),
    [
        ({}, f"Notably, {PAPER.measure} improves by {PAPER.gain} percent.", "Results:"),
        ({"numerals": False}, "by a clear margin", "percent"),
        ({"hedged": True}, "may improve", "improves"),
        ({"labelled": True}, "Results: Notably", "\n"),
        ({"closing": "code"}, "available", "limitation"),
        ({"voice": "this paper"}, "Here, this paper", " we "),
        ({"opening": "question"}, "?", "remains hard"),
    ],
)
def test_each_habit_of_an_abstract_shows(changes, has, lacks):
    style = replace(ABSTRACT, **changes)
    for seed in range(20):
        written = write_abstract(random.Random(seed), PAPER, style, habit=1.0)
        if changes.get("closing") != "code" or "materials" not in written:
            assert has in written
        assert lacks not in written


def test_extras_are_further_sentences():
    lengths = [
        write_abstract(random.Random(1), PAPER, replace(ABSTRACT, extras=n), habit=1.0).count(".")
        for n in range(4)
    ]
    assert lengths == [lengths[0] + n for n in range(4)]


def test_an_abstract_says_what_its_paper_is_about():
    for field in FIELDS:
        paper = draw_paper(random.Random(6), field)
        written = write_abstract(random.Random(7), paper, abstract_style(0), habit=0.9).lower()
        assert paper.problem.lower() in written and paper.measure.lower() in written


@pytest.mark.parametrize(
    "bad", [{"authors": 0}, {"history": 0}, {"tests": 0}, {"habit": 1.5}, {"habit": -0.1}]
)
def test_impossible_sizes_are_refused(bad):
    with pytest.raises(TrimtabError, match="expected"):
        GazetteSize(**bad)
