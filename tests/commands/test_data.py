import csv
import json

import pytest

from trimtab.cli import execute
from trimtab.envs.shop.personalwab import load_world, save_world
from trimtab.envs.worlds.bazaar import generate_bazaar


@pytest.fixture(scope="module")
def bazaar():
    return generate_bazaar(users=6, products=120)


@pytest.fixture
def log(bazaar, tmp_path):
    """The bazaar's purchases as another shop's log: one CSV with columns of its own."""
    path = tmp_path / "orders.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["who", "sku", "name", "brand", "price", "stars", "words", "when"])
        for user, purchases in bazaar.histories.items():
            for p in purchases:
                item, said = p.product_info, p.review
                when = said.timestamp // 1000
                bought = (item.parent_asin, item.title, item.store, f"${item.price}")
                rows.writerow([user, *bought, said.rating, said.text, when])
    return path


MAPPING = [
    *("--map", "user=who", "--map", "product=sku", "--map", "title=name", "--map", "store=brand"),
    *("--map", "price=price", "--map", "rating=stars", "--map", "text=words", "--map", "time=when"),
]


def test_a_shop_s_own_log_becomes_a_world_that_checks(log, bazaar, tmp_path, capsys):
    folder = str(tmp_path / "world")
    assert execute(["data", "import", folder, "--reviews", str(log), *MAPPING]) == 0
    told = capsys.readouterr().out
    assert "reviews (mapped)" in told
    assert f"{folder}: " in told
    assert execute(["data", "check", folder]) == 0
    assert "no problems" in capsys.readouterr().out
    assert set(load_world(folder).users) == set(bazaar.histories)


def test_a_sound_folder_has_exit_code_0_and_one_with_problems_1(bazaar, tmp_path, capsys):
    save_world(bazaar, tmp_path)
    assert execute(["data", "check", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "120 products, 6 users" in told
    assert "test: " in told
    path = tmp_path / "user_profiles.json"
    profiles = json.loads(path.read_text())
    del profiles[next(iter(profiles))]
    path.write_text(json.dumps(profiles))
    assert execute(["data", "check", str(tmp_path)]) == 1
    assert "problem: 1 users with tasks but without a profile" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["check", "nowhere"], "no folder nowhere"),
        (["import", "out", "--reviews", "nowhere"], "nowhere: cannot be read"),
        (["import", "out", "--reviews", "x", "--map", "user"], "a mapping FIELD=NAME"),
        (["import", "out", "--reviews", "x", "--train", "2"], "shares for training and test"),
        (["import", "out"], "--reviews"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, told):
    monkeypatch.chdir(tmp_path)
    assert execute(["data", *arguments]) == 2
    shown = capsys.readouterr()
    assert told in shown.err
    assert shown.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_a_command_the_group_says_what_it_has(capsys):
    assert execute(["data"]) == 0
    shown = capsys.readouterr().out
    assert "check" in shown
    assert "import" in shown
