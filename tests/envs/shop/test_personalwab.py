import json
from pathlib import Path

import pytest

from trimtab.envs.shop.personalwab import load_world, save_world
from trimtab.envs.shop.world import World
from trimtab.errors import TrimtabError

PUBLIC = Path(__file__).parents[4] / "shared/data/personalwab"

PRODUCTS = "all_products_part_1.json"
HISTORY = "user_history_part_1.json"
PROFILES = "user_profiles.json"
TASKS = "user_instructions.json"


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def first(mapping):
    return next(iter(mapping))


def test_what_is_saved_is_loaded(bazaar, folder):
    loaded = load_world(folder)
    assert loaded.fingerprint == bazaar.fingerprint
    assert loaded.name == "bazaar"
    assert [task.id for task in loaded.test] == [task.id for task in bazaar.test]
    assert [task.wording for task in loaded.test] == [task.wording for task in bazaar.test]


def test_the_folder_is_laid_out_as_the_benchmark_is(bazaar, folder):
    assert sorted(path.name for path in folder.iterdir()) == [PRODUCTS, HISTORY, TASKS, PROFILES]
    products = json.loads((folder / PRODUCTS).read_text())
    assert set(products) == set(bazaar.products)
    assert {
        "title", "parent_asin", "main_category", "average_rating", "rating_number", "price",
        "store", "features", "description", "details",
    } == set(products[first(products)])  # fmt: skip
    history = json.loads((folder / HISTORY).read_text())
    assert set(history[first(history)][0]) == {"product_info", "review"}
    assert set(history[first(history)][0]["review"]) == {"rating", "text", "timestamp"}
    profiles = json.loads((folder / PROFILES).read_text())
    assert set(profiles[first(profiles)]) == {"user_profile"}
    tasks = json.loads((folder / TASKS).read_text())
    assert set(tasks) == {"train", "test"}
    assert {"user_id", "task", "type", "timestamp", "target"} <= set(tasks["train"][0])


def test_tasks_without_an_id_get_one_and_it_is_not_written(folder, tmp_path):
    def forget(tasks):
        for task in [*tasks["train"], *tasks["test"]]:
            del task["id"]

    edit(folder / TASKS, forget)
    world = load_world(folder)
    assert [task.id for task in world.test[:2]] == ["test-0", "test-1"]
    save_world(world, tmp_path / "again")
    assert "id" not in json.loads((tmp_path / "again" / TASKS).read_text())["test"][0]


def test_parts_are_joined_and_older_ones_go(bazaar, tmp_path):
    save_world(bazaar, tmp_path, products_per_part=15, users_per_part=1)
    assert (tmp_path / "all_products_part_14.json").exists()
    assert (tmp_path / "user_history_part_8.json").exists()
    loaded = load_world(tmp_path)
    assert loaded.fingerprint == bazaar.fingerprint
    assert list(loaded.products) == list(bazaar.products)  # part 10 comes after part 9
    save_world(bazaar, tmp_path)
    assert len(list(tmp_path.iterdir())) == 4
    assert load_world(tmp_path).fingerprint == bazaar.fingerprint


def test_files_that_are_not_in_parts_are_read(bazaar, folder):
    (folder / PRODUCTS).rename(folder / "all_products.json")
    (folder / HISTORY).rename(folder / "user_history.json")
    assert load_world(folder).fingerprint == bazaar.fingerprint


def test_an_empty_world_is_saved_too(tmp_path):
    save_world(World({}, {}, {}, [], []), tmp_path)
    assert load_world(tmp_path).users == []


@pytest.mark.parametrize("name", [PRODUCTS, HISTORY, PROFILES, TASKS])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(TrimtabError) as error:
        load_world(folder)
    assert str(error.value).startswith(f"{folder}: no {name.replace('1', '*')}; ")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(TrimtabError, match=r"no folder .*nowhere; a world is a folder with"):
        load_world(tmp_path / "nowhere")


@pytest.mark.parametrize("name", [PRODUCTS, HISTORY, PROFILES, TASKS])
@pytest.mark.parametrize("content", [b'{"a": {"b', b"", b"\xff\xfe\x00", b"[1, 2]", b"null"])
def test_a_broken_file_is_named(folder, name, content):
    (folder / name).write_bytes(content)
    with pytest.raises(TrimtabError) as error:
        load_world(folder)
    assert str(error.value).startswith(f"{folder / name}: ")
    assert "\n" not in str(error.value)


def spoil_product(products):
    del products[first(products)]["title"]


def spoil_features(history):
    history[first(history)][2]["product_info"]["parent_asin"] = 7.5


def spoil_rating(history):
    history[first(history)][3]["review"]["rating"] = "five\nstars"


def spoil_history(history):
    history[first(history)] = {"not": "a list"}


def spoil_profile(profiles):
    profiles[first(profiles)] = {"profile": {}}


def spoil_type(tasks):
    tasks["test"][5]["type"] = "haggle"


def spoil_target(tasks):
    del tasks["train"][4]["target"]["review"]["text"]


def spoil_split(tasks):
    del tasks["test"]


@pytest.mark.parametrize(
    ("name", "spoil", "record", "field", "told"),
    [
        (PRODUCTS, spoil_product, "product '{product}'", "title", "is missing"),
        (HISTORY, spoil_features, "user '{user}', purchase [2]", "product_info.parent_asin", "7.5"),
        (HISTORY, spoil_rating, "user '{user}', purchase [3]", "review.rating", "got 'five"),
        (HISTORY, spoil_history, "user '{user}'", "", "expected a valid array, got {'not'"),
        (PROFILES, spoil_profile, "user '{user}'", "user_profile", "is missing"),
        (TASKS, spoil_type, "split 'test', task [5]", "type", "'haggle'"),
        (TASKS, spoil_target, "split 'train', task [4]", "target.review.text", "is missing"),
        (TASKS, spoil_split, "split 'test'", "", "is missing"),
    ],
)
def test_a_broken_record_is_told_in_one_line(bazaar, folder, name, spoil, record, field, told):
    edit(folder / name, spoil)
    with pytest.raises(TrimtabError) as error:
        load_world(folder)
    line = str(error.value)
    named = record.format(product=first(bazaar.products), user=first(bazaar.histories))
    assert line.startswith(f"{folder / name}: {named}{f', field {field}' if field else ''}: ")
    assert told in line
    assert "\n" not in line


def test_the_published_profiles_are_read(folder):
    published = PUBLIC / "user_profiles.json"
    if not published.exists():
        pytest.skip(f"no {published}")
    (folder / PROFILES).write_bytes(published.read_bytes())
    world = load_world(folder)
    assert len(world.profiles) == 1000
    fields = set(world.profile("AGMQSZEQFFKH33FJQZLN7MF5QX2Q"))
    own = load_world(folder).profiles.keys() - world.histories.keys()
    assert len(own) == 1000
    assert "Price Sensitivity" in fields


def test_a_world_that_cannot_be_written_leaves_the_old_one(bazaar, folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def fail(content):
        raise RuntimeError("disk full")

    monkeypatch.setattr("trimtab.envs.shop.personalwab.to_json", fail)
    with pytest.raises(RuntimeError):
        save_world(bazaar, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
