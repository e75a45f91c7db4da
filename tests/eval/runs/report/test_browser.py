"""The report in a real browser: it loads, sorts, filters and pages without a complaint."""

import re
import shutil
from dataclasses import replace
from itertools import pairwise

import pytest
from playwright.sync_api import expect

from trimtab.eval.runs.record import read_run
from trimtab.eval.runs.report import write_report


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("report") / "report.html"


@pytest.fixture
def report(kept, text_run):
    """The report of the usual run, written once."""
    if not kept.exists():
        shutil.copy(write_report(read_run(text_run())), kept)
    return kept


@pytest.fixture
def page(open_page, report):
    return open_page(report)


def shown_samples(page):
    return page.locator("#sample-list h3").all_inner_texts()


def column(page, number):
    return page.locator(f"#user-table tbody tr > :nth-child({number})").all_inner_texts()


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_its_window_in_both_themes(open_page, report, width, theme):
    page = open_page(report, width, theme)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    expect(page.locator("#sample-list article")).to_have_count(10)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(255, 255, 255)" if theme == "light" else "rgb(20, 23, 28)")


CONTRAST = """() => {
  const light = (color) => {
    const parts = color.match(/[\\d.]+/g).slice(0, 3)
      .map((part) => part / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (!color.endsWith(", 0)")) return color;
    }
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    const shown = element.getClientRects().length && !element.matches(":disabled, :disabled *");
    if (!own || !shown) continue;
    const svg = element instanceof SVGElement;
    const style = getComputedStyle(element);
    const [one, other] = [light(svg ? style.fill : style.color), light(behind(element))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) poor.push([element.tagName, element.textContent.trim().slice(0, 40), ratio]);
  }
  for (const mark of document.querySelectorAll(".legend .mark, .bar .mark")) {
    const [one, other] = [getComputedStyle(mark).fill, behind(mark.closest("svg").parentElement)]
      .map(light);
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 3) poor.push(["mark", mark.closest("svg").getAttribute("class"), ratio]);
  }
  return poor;
}"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_marks_stand_out_from_what_is_behind_them(open_page, report, theme):
    page = open_page(report, theme=theme)
    page.check("[name=missing]")
    page.locator("#sample-list summary").first.click()
    expect(page.locator("#sample-list del").first).to_be_visible()
    # WCAG 2.2, 1.4.3 and 1.4.11.
    assert page.evaluate(CONTRAST) == []


def test_every_control_has_a_name_and_headings_leave_out_no_level(page):
    nameless = page.evaluate(
        "[...document.querySelectorAll('input, select, button, summary')]"
        ".filter((e) => !(e.labels?.length || e.textContent.trim())).map((e) => e.outerHTML)"
    )
    assert nameless == []
    levels = page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3, h4')].map((h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.locator("table:not(:has(caption, tbody td)):visible").count() == 0


def test_controls_are_reached_by_keyboard_and_show_it(page):
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    expect(page.locator(".skip")).to_be_in_viewport()
    page.locator("#user-table thead button").nth(4).focus()
    page.keyboard.press("Enter")
    focused = page.locator("#user-table thead th[aria-sort=descending] button")
    expect(focused).to_be_focused()
    assert focused.evaluate("(e) => getComputedStyle(e).outlineStyle") == "solid"


def test_users_are_sorted_by_any_column(page):
    expect(page.locator("#user-table tbody tr")).to_have_count(10)
    assert column(page, 1)[0] == "user-0"
    page.click("#user-table thead button:has-text('user')")
    assert column(page, 1)[0] == "user-9"
    page.click("#user-table thead button:has-text('history')")
    assert [int(text) for text in column(page, 3)] == [4 + 3 * n for n in range(9, -1, -1)]
    page.locator("#user-table thead button").nth(5).click()
    scores = [float(text) for text in column(page, 6)]
    assert scores == sorted(scores, reverse=True)
    expect(page.locator("#user-table th[aria-sort]")).to_have_count(1)


def test_the_metric_is_changed_everywhere(page):
    score = column(page, 4)[0]
    expect(page.locator("table.forest:visible caption")).to_contain_text("rouge-1")
    page.select_option("#metric", "log-likelihood")
    expect(page.locator("table.forest:visible caption")).to_contain_text("log-likelihood")
    assert column(page, 4)[0] != score
    page.select_option("#reference", "fints")
    caption = page.locator("table.forest:visible caption")
    expect(caption).to_have_text("log-likelihood, minus fints, on the same samples")
    expect(page.locator("table.forest:visible tbody tr")).to_have_count(4)


def test_samples_are_found_by_text_and_user(page):
    count = page.locator("#sample-count")
    expect(count).to_have_text("40 of 40 samples")
    page.fill("[name=text]", "ARTICLE 17?")
    expect(count).to_have_text("1 of 40 samples")
    assert shown_samples(page) == ["s17"]
    page.click("button[type=reset]")
    expect(count).to_have_text("40 of 40 samples")
    page.fill("[name=user]", "user-3")
    expect(count).to_have_text("4 of 40 samples")
    assert shown_samples(page) == ["s03", "s13", "s23", "s33"]
    page.click("#user-table tbody button:has-text('user-5')")
    expect(count).to_have_text("4 of 40 samples")
    assert shown_samples(page) == ["s05", "s15", "s25", "s35"]
    page.fill("[name=user]", "nobody")
    expect(count).to_have_text("0 of 40 samples")


def test_samples_are_those_where_a_method_is_better_and_the_greatest_difference_is_first(
    page, text_run
):
    run = read_run(text_run(folder="again"))
    gain = {
        sample: record.scores["rouge-1"] - run.of["rag"][sample].scores["rouge-1"]
        for sample, record in run.of["fints"].items()
    }
    count = page.locator("#sample-count")
    page.select_option("[name=first]", label="fints")
    page.select_option("[name=second]", label="rag")
    for outcome, hits in [
        ("win", [g > 1e-9 for g in gain.values()]),
        ("lose", [g < -1e-9 for g in gain.values()]),
        ("tie", [abs(g) < 1e-9 for g in gain.values()]),
    ]:
        page.select_option("[name=outcome]", outcome)
        expect(count).to_have_text(f"{sum(hits)} of 40 samples")
    page.select_option("[name=outcome]", "win")
    wins = [g for g in gain.values() if g > 1e-9]
    for order, wanted in [("gain", max(wins)), ("loss", min(wins))]:
        page.select_option("[name=sort]", order)
        at_the_end = [sample for sample, g in gain.items() if g == pytest.approx(wanted)]
        first = page.locator("#sample-list h3").first
        expect(first).to_have_text(re.compile("|".join(at_the_end)))


def test_failed_samples_and_kinds_are_found(open_page, text_run):
    folder = text_run(folder="first")
    records = [
        replace(r, kind="long" if n % 2 else "short", error="out of memory" if n == 7 else "")
        for n, r in enumerate(read_run(folder).records)
    ]
    page = open_page(write_report(read_run(text_run(records))))
    failed = records[7]
    expect(page.get_by_role("note")).to_contain_text("1 answer was broken off")
    page.select_option("[name=first]", label=failed.method)
    page.select_option("[name=outcome]", "fail")
    expect(page.locator("#sample-count")).to_have_text("1 of 40 samples")
    assert shown_samples(page) == [failed.sample_id]
    expect(page.locator("#sample-list")).to_contain_text("Broken off: out of memory")
    page.click("button[type=reset]")
    page.select_option("[name=kind]", "long")
    longs = len({r.sample_id for r in records if r.kind == "long"})
    expect(page.locator("#sample-count")).not_to_have_text("40 of 40 samples")
    assert longs  # samples take the kind of their first answer
    expect(page.get_by_role("heading", name="By kind")).to_be_visible()


def test_pages_are_gone_through(page):
    pager = page.locator("#sample-pager")
    expect(pager).to_contain_text("page 1 of 4")
    expect(pager.get_by_role("button", name="Previous")).to_be_disabled()
    pager.get_by_role("button", name="Next").click()
    assert shown_samples(page) == [f"s{n}" for n in range(10, 20)]
    page.locator("#sample-pager-below").get_by_role("button", name="Last").click()
    expect(pager).to_contain_text("page 4 of 4")
    assert shown_samples(page)[-1] == "s39"
    expect(pager.get_by_role("button", name="First")).to_be_focused()


def test_words_that_differ_are_marked(open_page, text_run):
    [one, other, *_] = read_run(text_run(folder="first")).records
    records = [
        replace(one, output="The old harbour closes, again", gold="the harbour closes today again"),
        replace(other, output="The old harbour opens, again"),
    ]
    page = open_page(write_report(read_run(text_run(records))))
    answers = page.locator("#sample-list .answer:not(.gold)")
    assert answers.nth(0).locator("mark").all_inner_texts() == ["The old", ","]
    page.check("[name=missing]")
    expect(answers.nth(0).locator("del")).to_have_text(["the", "today"])
    assert "harbour closes" in answers.nth(0).inner_text()
    page.uncheck("[name=missing]")
    page.select_option("[name=against]", label="zero-shot")
    expect(answers.nth(1).locator("mark")).to_have_text(["opens"])
    expect(answers.nth(0).locator("mark")).to_have_count(0)
    page.select_option("[name=against]", label="nothing")
    expect(page.locator("#sample-list mark")).to_have_count(0)


def test_a_steered_answer_shows_what_steered_it(page):
    answer = page.locator("#sample-list .answer:has(h4 bdi:text-is('fints'))").first
    answer.get_by_text("Steered by 3 past samples").click()
    rows = answer.locator(".picked tbody tr")
    expect(rows).to_have_count(3)
    expect(rows.first).to_contain_text("0.60")
    expect(rows.first).to_contain_text("past article 0")
    expect(rows.first).to_contain_text("Past headline 0")
    answer.get_by_text("Prompt", exact=True).click()
    expect(answer).to_contain_text("You write headlines.")


def test_hostile_texts_stay_texts(open_page, hostile_run):
    page = open_page(write_report(read_run(hostile_run)))
    for summary in page.locator("#sample-list summary").all():
        summary.click()
    page.locator("#configuration summary").click()
    page.check("[name=missing]")
    page.fill("[name=text]", "</script>")
    expect(page.locator("#sample-count")).not_to_have_text("12 of 12 samples")
    assert page.evaluate("window.hacked") is None
    assert page.locator("img, iframe, #sample-list script, main script").count() == 0
    assert (
        "</script><script>window.hacked = 1</script>" in page.locator("#sample-list").inner_text()
    )
    expect(page.locator("#scores tbody th").nth(1)).to_contain_text("<img src=x onerror=")


def test_five_thousand_answers_are_paged_and_searched(open_page, text_run):
    records = read_run(text_run(folder="first")).records
    many = [
        replace(record, sample_id=f"{record.sample_id}-{copy}", user_id=f"{record.user_id}-{copy}")
        for copy in range(25)
        for record in records
    ]
    assert len(many) == 5000
    page = open_page(write_report(read_run(text_run(many))))
    expect(page.locator("#sample-list article")).to_have_count(10)
    expect(page.locator("#user-table tbody tr")).to_have_count(25)
    page.fill("[name=text]", "s39-24")
    expect(page.locator("#sample-count")).to_have_text("1 of 1000 samples")


def test_a_run_of_one_method_and_one_user_is_shown(open_page, text_run):
    records = [
        r for r in read_run(text_run(folder="first")).records
        if r.method == "zero-shot" and r.user_id == "user-1"
    ]  # fmt: skip
    page = open_page(write_report(read_run(text_run(records))))
    expect(page.locator("#sample-count")).to_have_text("4 of 4 samples")
    expect(page.locator("#differences")).to_contain_text("No two methods have rouge-1")
    assert "nan" not in page.locator("body").inner_text().lower()
