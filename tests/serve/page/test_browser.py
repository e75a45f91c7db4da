"""The page in a real browser, on a really running server around a tiny random model."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from trimtab.envs.shop.environment import ShopEnvironment
from trimtab.envs.worlds.bazaar import generate_bazaar
from trimtab.eval.studies.tool_choices import NothingRecommended
from trimtab.serve.access import Users, make_key
from trimtab.serve.opening import open_service
from trimtab.serve.page.episodes import Episodes
from trimtab.steering.dictionaries.dictionary import SteeringDictionary
from trimtab.steering.dictionaries.settings import SteeringSettings
from trimtab.steering.vectors.entries import Entry
from trimtab.steering.vectors.steering_vectors import points_of

SETTINGS = SteeringSettings(sites=("block",), depths=(0.5,), strength=4.0, k=3)
HOSTILE = "<img src=x onerror='window.hacked = 1'>"


def own(service: Any, user: str, seed: int) -> SteeringDictionary:
    """A dictionary of random vectors, whose keys are as the model's encoder makes them."""
    keys = [f"a lamp for room {n}" for n in range(4)] + [f"{HOSTILE} lamp"]
    draws = torch.Generator().manual_seed(seed)
    points = points_of(SETTINGS.layers(service.model), SETTINGS.sites)
    return SteeringDictionary(
        user_id=user,
        fingerprint=service.model.fingerprint,
        points=points,
        encoder_name=service.model.encoder.name,
        entries=[Entry(f"s{n}", key, f"answer {n}", "response", n) for n, key in enumerate(keys)],
        keys=service.model.encoder.encode(keys),
        vectors=torch.randn(len(keys), 1, 32, generator=draws),
    )


@pytest.fixture(scope="module")
def world() -> Any:
    return generate_bazaar(users=3, products=100)


@pytest.fixture(scope="module")
def service(served_model: Any, world: Any, tmp_path_factory: Any) -> Any:
    store = tmp_path_factory.mktemp("page") / "users.db"
    opened = open_service(served_model, store, settings=SETTINGS, name="tiny")
    for seed, user in enumerate(["ann", "bob", HOSTILE, *world.users]):
        opened.store.put(own(opened, user, seed))
    return opened


@pytest.fixture(scope="module")
def demo(service: Any, serving: Any, world: Any, tmp_path_factory: Any) -> Iterator[str]:
    """The page with episodes."""
    folder = tmp_path_factory.mktemp("shop")
    shop = ShopEnvironment(world, folder, recommender=NothingRecommended())
    episodes = Episodes(shop, service.model.encoder.similarity)
    with serving(service, episodes=episodes) as url:
        yield url


@pytest.fixture
def open_page(demo: str, browser: Any) -> Iterator[Callable[..., Any]]:
    """Open the page at a size and theme; it must ask this server alone, and complain of nothing."""
    opened: list[Any] = []
    complaints: list[str] = []

    def open_page(width: int = 1280, theme: str = "light", user: str = "ann") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
        opened.append(context)
        page = context.new_page()
        page.asked = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))

        def note(request: Any) -> None:
            if not request.url.startswith(("data:", "blob:", demo)):
                complaints.append(request.url)
            if request.url.endswith("/v1/chat/completions"):
                page.asked.append(json.loads(request.post_data))

        page.on("request", note)
        page.goto(demo)
        page.get_by_label("User", exact=True).select_option(user)
        page.get_by_text("5 entries").wait_for(state="attached")
        return page

    yield open_page
    for context in opened:
        context.close()
    assert complaints == []


def ask(page: Any, words: str = "Which lamp?") -> None:
    page.get_by_label("Own words").check()
    page.get_by_label("Offer the shop's tools").uncheck()
    page.get_by_label("Request").fill(words)
    page.get_by_role("button", name="Run").click()
    settled(page)


def settled(page: Any) -> None:
    page.wait_for_function(
        "() => document.querySelectorAll('[aria-busy=true]').length === 0"
        " && document.getElementById('said').textContent === 'The answers are there.'"
    )


def answer(page: Any, side: str) -> str:
    return str(page.locator(f"[data-side={side}] .flow").inner_text())


def wishes(page: Any) -> list[tuple[str, Any]]:
    return [(body["user"], body["steering"]) for body in page.asked]


def test_one_request_is_answered_three_times(open_page: Any, service: Any) -> None:
    page = open_page()
    page.get_by_label("Another user").select_option("bob")
    ask(page)
    assert sorted(wishes(page), key=str) == sorted(
        [
            ("ann", {"whose": "off"}),
            ("ann", {"strength": 4, "k": 3, "without": []}),
            ("bob", {"strength": 4, "k": 3}),
        ],
        key=str,
    )
    answers = {answer(page, side) for side in ("plain", "own", "other")}
    assert len(answers) == 3
    assert "first word after" in page.locator("[data-side=own] .foot").inner_text()
    lines = page.locator("#picked li").all_inner_texts()
    assert len(lines) == 3 and all("lamp" in line and "%" in line for line in lines)
    assert sum(int(re.findall(r"(\d+) %", line)[0]) for line in lines) in range(98, 103)
    # Where the answers part, and what became likelier there.
    assert page.locator("#tokens button").count() >= 1
    assert "Here they part" in page.locator("#shifts caption").inner_text()
    assert page.locator("#shifts tbody tr").count() >= 2
    assert page.evaluate("window.hacked") is None


def test_an_entry_is_left_out_and_put_back(open_page: Any) -> None:
    page = open_page()
    ask(page)
    before = answer(page, "own")
    first = page.locator("#picked input").first
    key = page.locator("#picked li").first.inner_text().splitlines()[0]
    page.asked.clear()
    first.uncheck()
    page.get_by_text("out", exact=True).wait_for()
    [(user, wish)] = wishes(page)
    assert user == "ann" and len(wish["without"]) == 1
    assert key in page.locator("#picked li").last.inner_text()
    assert answer(page, "own") != before
    page.locator("#picked input:not(:checked)").check()
    page.get_by_text("out", exact=True).wait_for(state="detached")
    assert answer(page, "own") == before


def test_strength_is_set_by_keyboard(open_page: Any) -> None:
    page = open_page()
    ask(page)
    plain = answer(page, "plain")
    page.asked.clear()
    page.get_by_label("Strength").focus()
    with page.expect_request("**/v1/chat/completions"):
        page.keyboard.press("Home")
    settled(page)
    assert {(user, wish["strength"]) for user, wish in wishes(page)} == {("ann", 0), (
        page.get_by_label("Another user").input_value(), 0
    )}  # fmt: skip
    page.wait_for_function("() => !document.querySelectorAll('[aria-busy=true]').length")
    assert answer(page, "own") == plain == answer(page, "other")
    assert page.get_by_text("The same tokens with the same odds.").is_visible()


def test_a_user_switches_off_and_on(open_page: Any, service: Any) -> None:
    page = open_page(user="bob")
    ask(page)
    assert answer(page, "own") != answer(page, "plain")
    switch = page.get_by_role("switch", name="Personalize my answers")
    switch.press("Space")
    page.get_by_text("not steered: switched off").wait_for()
    assert not service.store.user("bob").switches.enabled
    page.wait_for_function("() => !document.querySelectorAll('[aria-busy=true]').length")
    assert answer(page, "own") == answer(page, "plain")
    switch.press("Space")
    page.get_by_text("not steered: switched off").wait_for(state="detached")
    slider = page.get_by_label("How strongly")
    slider.focus()
    page.keyboard.press("End")
    page.wait_for_function("() => document.getElementById('factor-said').textContent === '200 %'")
    page.get_by_text("At strength 8.00").wait_for()
    assert service.store.user("bob").switches.strength == 2
    service.store.switch("bob", strength=1.0)


def test_an_entry_is_deleted_and_a_user_forgotten(open_page: Any, service: Any) -> None:
    page = open_page(user=HOSTILE)
    page.get_by_text("What is kept of me").click()
    page.get_by_role("button", name="Delete: a lamp for room 1").click()
    page.get_by_text("4 entries").wait_for()
    assert "s1" not in [entry.sample_id for entry in service.store[HOSTILE].entries]
    with page.expect_download() as download:
        page.get_by_role("button", name="Give me a copy").click()
    copy = json.loads(Path(download.value.path()).read_text())
    assert copy["user"] == HOSTILE and len(copy["entries"]) == 4
    page.get_by_role("button", name="Forget me").click()
    page.keyboard.press("Escape")
    assert HOSTILE in service.store
    page.get_by_role("button", name="Forget me").click()
    page.get_by_role("button", name="Forget", exact=True).click()
    page.get_by_text("What is kept of me: nothing").wait_for()
    assert HOSTILE not in service.store and page.evaluate("window.hacked") is None


def test_an_episode_is_played_with_its_tools(open_page: Any, world: Any) -> None:
    user = world.test[0].user_id
    page = open_page(user=user)
    of_user = page.locator("#profile").filter(has_text=str(world.profile(user)["Occupation"]))
    of_user.wait_for(state="attached")
    requests = page.get_by_label("What the user says").locator("option").all_inner_texts()
    assert set(requests) == {task.task for task in world.test if task.user_id == user}
    page.get_by_role("button", name="Run").click()
    settled(page)
    body = page.asked[0]
    assert body["messages"][-1] == {"role": "user", "content": requests[0]}
    assert body["tool_choice"] == "required" and len(body["tools"]) == 3
    assert page.locator(".call").count() >= 3
    assert page.locator(".verdict").count() >= 3


def test_it_runs_and_stops_by_keyboard(open_page: Any) -> None:
    page = open_page()
    page.get_by_label("Own words").check()
    page.get_by_label("Request").fill("Which lamp?")
    page.keyboard.press("Control+Enter")
    settled(page)
    assert answer(page, "plain")
    page.get_by_label("Request").fill("")
    page.keyboard.press("Control+Enter")
    page.get_by_role("alert").get_by_text("Write a request first.").wait_for()
    # Every control can be reached, in the order of the page, and none is a trap.
    page.locator("body").click(position={"x": 2, "y": 2})
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    wanted = ["user", "other", "words", "strength", "k", "run", "enabled", "factor", "copy"]
    assert [name for name in reached if name in wanted][: len(wanted)] == wanted


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_cut_off(open_page: Any, width: int, theme: str) -> None:
    page = open_page(width, theme)
    ask(page, "Which lamp? " + "averyveryverylongword" * 12)
    page.get_by_text("What is kept of me").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Each control has a name, and each text stands out from what it lies on.
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('main :is(input, select, textarea, button)')].filter(
            (one) => one.checkVisibility() && !one.labels?.length && !one.textContent.trim()
              && !one.ariaLabel).map((one) => one.outerHTML)"""
    )
    assert unnamed == []
    assert page.evaluate(CONTRAST) == []


CONTRAST = """() => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => c / 255).map(
      (c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (one) => {
    for (; one; one = one.parentElement) {
      const color = parts(getComputedStyle(one).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const one of document.querySelectorAll('body *')) {
    const says = [...one.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!says || !one.checkVisibility()) continue;
    if (one.matches(':disabled, .unseen, .skip, option')) continue;
    const [a, b] = [light(parts(getComputedStyle(one).color)), light(behind(one))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faint.push(`${one.tagName} ${one.textContent.trim().slice(0, 30)} ${ratio}`);
  }
  return faint;
}"""


def test_a_key_shows_its_own_users_alone(
    served_model: Any, serving: Any, browser: Any, tmp_path: Path
) -> None:
    opened = open_service(served_model, tmp_path / "users.db", settings=SETTINGS, name="tiny")
    for seed, user in enumerate(["shop-1", "shop-2", "bank-1"]):
        opened.store.put(own(opened, user, seed))
    rights = frozenset({"chat", "manage"})
    key = make_key(opened.store, "shop", Users("prefix", "shop-"), rights)
    with serving(opened) as url:
        page = browser.new_page()
        page.goto(url)
        page.get_by_role("textbox", name="Key").fill(key)
        page.get_by_role("button", name="Use it").click()
        page.get_by_text("5 entries").wait_for(state="attached")
        names = page.get_by_label("User", exact=True).locator("option").all_inner_texts()
        assert names == ["shop-1", "shop-2"]
        assert not page.locator("#modes").is_visible()
        page.get_by_label("Request").fill("Which lamp?")
        page.get_by_role("button", name="Run").click()
        settled(page)
        assert page.locator("#picked li").count() == 3
        page.context.close()
