import json

import pytest

from trimtab.envs.personalwab import save_world
from trimtab.envs.report import check_world
from trimtab.envs.world import World
from trimtab.errors import TrimtabError


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def kinds(report):
    return {problem.kind.split(" (")[0]: problem.count for problem in report.problems}


def test_a_sound_world_is_counted(bazaar, folder):
    report = check_world(folder)
    assert report.ok
    assert (report.products, report.users, report.profiles) == (200, 8, 8)
    assert report.purchases == sum(len(history) for history in bazaar.histories.values())
    assert sum(report.tasks["test"].values()) == len(bazaar.test)
    assert report.tasks["train"]["review"] == sum(t.type == "review" for t in bazaar.train)
    assert list(report.lines())[-1] == "no problems"


def test_broken_records_are_listed_and_left_out(bazaar, folder):
    user = next(iter(bazaar.histories))

    def spoil(history):
        history[user][0]["review"]["rating"] = "five"
        del history[user][4]["review"]
        history[user][4]["product_info"] = None

    edit(folder / "user_history_part_1.json", spoil)
    edit(folder / "user_instructions.json", lambda tasks: tasks["test"][1].pop("type"))
    report = check_world(folder)
    [broken] = [p for p in report.problems if p.kind == "broken records"]
    assert broken.count == 4
    assert "review.rating" in broken.examples[0]
    assert report.purchases == sum(len(history) for history in bazaar.histories.values()) - 2
    assert sum(report.tasks["test"].values()) == len(bazaar.test) - 1
    assert all("\n" not in line for line in report.lines())


def test_an_unreadable_file_is_a_problem_and_a_missing_one_an_error(folder):
    (folder / "user_profiles.json").write_text('{"a": ')
    report = check_world(folder)
    assert report.profiles == 0
    assert "user_profiles.json" in report.problems[0].examples[0]
    (folder / "user_profiles.json").unlink()
    with pytest.raises(TrimtabError, match=r"no user_profiles\.json"):
        check_world(folder)


def test_problems_between_records_are_found(tmp_path, purchase, task):
    world = World(
        products={"A": purchase("A", 0).product_info, "Z": purchase("Y", 0).product_info},
        histories={"ann": [purchase("A", 10), purchase("A", 10)], "bob": []},
        profiles={"ann": {}},
        train=[
            task("unknown", "ann", 20, asin="X"),
            task("given away", "ann", 21),
            task("late", "ann", 50, asin="Z"),
            task("no past", "bob", 5, asin="Z"),
        ],
        test=[
            task("before training", "ann", 40, asin="Z"),
            task("after its own review", "ann", 60, asin="Z", target_time=55),
            task("milliseconds", "ann", 1_600_000_000_000, asin="Z"),
        ],
    )
    save_world(world, tmp_path)

    def repeat(tasks):
        tasks["train"].append({**tasks["train"][3], "id": "again"})
        tasks["train"].append({**tasks["train"][0], "task": "other words"})

    edit(tmp_path / "user_instructions.json", repeat)
    # The part is read again under another name.
    (tmp_path / "all_products_part_2.json").write_text(
        (tmp_path / "all_products_part_1.json").read_text()
    )
    assert kinds(check_world(tmp_path)) == {
        "products that are in two files": 2,
        "products whose key is not their parent_asin": 2,
        "task ids given twice": 1,
        "purchases listed twice": 1,
        "tasks listed twice": 1,
        "tasks whose user has bought nothing before": 2,
        "tasks whose target the user has bought before, so that it is given away": 1,
        "test tasks not later than all training tasks of their user": 1,
        "tasks later than the review of their own target": 1,
        "users with tasks but without a profile": 1,
        "mixtures of seconds and milliseconds": 1,
    }


def test_a_target_that_is_no_product_is_found(folder, bazaar):
    target = bazaar.test[0].target.asin
    edit(folder / "all_products_part_1.json", lambda products: products.pop(target))
    found = kinds(check_world(folder))
    assert found["tasks whose target is not among the products"] >= 1
