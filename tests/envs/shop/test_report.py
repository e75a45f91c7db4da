import json

import pytest

from trimtab.envs.shop.personalwab import save_world
from trimtab.envs.shop.report import check_world
from trimtab.envs.shop.world import World
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


def test_a_request_that_gives_its_target_away_is_found(folder, bazaar):
    def tell(tasks):
        searches = [t for t in tasks["test"] if t["type"] == "search"]
        searches[0]["task"] += " " + searches[0]["target"]["product_info"]["title"].upper()
        searches[1]["task"] += f" ({searches[1]['target']['product_info']['parent_asin']})"
        reviews = [t for t in tasks["test"] if t["type"] == "review"]
        reviews[0]["task"] += " " + reviews[0]["target"]["product_info"]["title"]

    edit(folder / "user_instructions.json", tell)
    assert kinds(check_world(folder)) == {
        "search and recommend tasks whose words give the target's ASIN or whole title": 2
    }


def test_a_published_recommender_is_read_and_compared_with_the_products(folder, bazaar):
    import torch

    from trimtab.tools.shop.sasrec import SASRec

    assert check_world(folder).recommender == ""
    (folder / "pwab.pth").write_bytes(b"torn")
    broken = check_world(folder)
    assert broken.recommender == "cannot be used"
    assert "no " + str(folder / "1000_ids.json") in broken.problems[0].examples[0]
    numbers = {asin: number for number, asin in enumerate(bazaar.products, 1)}
    (folder / "1000_ids.json").write_text(json.dumps({**numbers, "B-STRANGE": 250}))
    torch.save(SASRec(300).state_dict(), folder / "pwab.pth")
    report = check_world(folder)
    assert "pwab.pth of 300 items, 201 of them in 1000_ids.json, 200 of those" in report.recommender
    assert kinds(report) == {"items that the recommender may name but the products lack": 1}
    assert report.problems[0].examples == ("B-STRANGE",)


def test_counts_a_user_and_the_span_of_time_are_told(folder, bazaar):
    report = check_world(folder)
    sizes = sorted(len(history) for history in bazaar.histories.values())
    assert report.purchases_a_user[::2] == (sizes[0], sizes[-1])
    assert report.span == (
        min(p.timestamp for history in bazaar.histories.values() for p in history),
        max(p.timestamp for history in bazaar.histories.values() for p in history),
    )
    assert any("median" in line and "-" in line for line in report.lines())
