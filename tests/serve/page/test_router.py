"""The page's endpoints: what they send, and whom they tell what."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from trimtab.envs.shop.environment import ShopEnvironment
from trimtab.envs.shop.scoring import right_tool
from trimtab.envs.worlds.bazaar import generate_bazaar
from trimtab.serve.page import router
from trimtab.serve.page.episodes import Episodes

PAGE = Path(router.__file__).parent


def test_the_page_and_its_files_are_sent(http: httpx.Client) -> None:
    page = http.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "connect-src 'self'" in policy
    assert page.text == (PAGE / "index.html").read_text()
    files = {path.name for path in PAGE.iterdir() if path.suffix in (".js", ".css")}
    for name in files:
        sent = http.get(f"/page/files/{name}")
        assert sent.status_code == 200 and sent.text == (PAGE / name).read_text()
    for name in ("router.py", "..%2Frouter.py", "index.html", "nothing.js"):
        assert http.get(f"/page/files/{name}").status_code == 404


def test_the_page_of_endpoints_names_all_and_asks_nobody_else(http: httpx.Client) -> None:
    page = http.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    named = set(re.findall(r"<h2><code>(\w+) (\S+)</code>", page.text))
    paths = http.get("/openapi.json").json()["paths"]
    assert named == {(m.upper(), path) for path, methods in paths.items() for m in methods}
    assert "max_completion_tokens" in page.text and "/v1/users/{user_id}/interactions" in page.text
    links = re.findall(r"""(?:href|src)=["']?([^"' >]+)""", page.text)
    assert links and all(link.startswith(("/", "data:")) for link in links)
    assert http.get("/redoc").status_code == 404


def test_without_a_demonstration_there_are_no_episodes(http: httpx.Client) -> None:
    about = http.get("/page/about").json()
    assert about["demo"] is False and about["model"] == "tiny" and about["users"] == []
    for path in ("/page/tools", "/page/users/ann", "/page/users/a%2Fb", "/page/episodes/x"):
        assert http.get(path).json()["error"]["code"] == "no_demo"


def test_pages_of_elsewhere_are_not_answered(http: httpx.Client) -> None:
    for path in ("/page/about", "/page/tools"):
        assert http.get(path, headers={"Origin": "https://evil.example"}).status_code == 403
        assert http.get(path, headers={"Host": "evil.example"}).status_code == 403


@pytest.fixture(scope="module")
def episodes(tmp_path_factory: Any) -> Iterator[Episodes]:
    shop = ShopEnvironment(
        generate_bazaar(users=3, products=100), tmp_path_factory.mktemp("shop"), recommender=Fixed()
    )
    yield Episodes(shop, lambda one, other: float(one == other))


class Fixed:
    """Recommends the same to everybody."""

    def recommend(self, sequence: list[str], k: int = 10) -> list[str]:
        return sequence[:k]


def test_an_episode_is_the_users_words_and_the_shops_tools(episodes: Episodes) -> None:
    user = next(iter(episodes._tasks.values())).user_id
    mine = episodes.of_user(user)
    assert mine and {task.user_id for task in mine} == {user}
    task = next(task for task in mine if task.type != "review")
    messages = episodes.messages(task)
    assert messages[0]["role"] == "system"
    assert messages[-1] == {"role": "user", "content": task.task}
    assert len(episodes.tools()) == 3
    assert episodes.find(task.id) is task and episodes.find("nothing") is None
    assert episodes.label(user) and episodes.label("nobody") == ""


def test_a_call_is_worth_what_the_benchmark_says(episodes: Episodes) -> None:
    tasks = list(episodes._tasks.values())
    review = next(task for task in tasks if task.type == "review")
    name = right_tool("review")
    own = {"review": review.target.review.text}
    done = episodes.call(review, name, own)
    assert (done.failed, done.right, done.score) == (False, True, 1.0)
    assert episodes.call(review, name, {"review": "no"}).score == 0.0
    search = next(task for task in tasks if task.type == "search")
    done = episodes.call(search, name, own)
    assert (done.right, done.wanted, done.score) == (False, right_tool("search"), 0.0)
    title = search.target.product_info.title
    done = episodes.call(search, done.wanted, {"query": title})
    assert done.right and done.score == 1.0 and title[:20] in done.content
    wrong = episodes.call(search, done.wanted, {"nonsense": 1})
    assert wrong.failed and wrong.right and wrong.score == 0.0
