"""The store's commands on a real store: what they print, and what is left on the disk."""

import json

import pytest
import torch

from trimtab import cli
from trimtab.envs.shop.personalwab import save_world
from trimtab.envs.worlds.bazaar import generate_bazaar
from trimtab.steering import SteeringDictionary, SteeringStore
from trimtab.steering.vectors.entries import Entry
from trimtab.steering.vectors.steering_vectors import points_of


def dictionary(user_id: str, seed: int) -> SteeringDictionary:
    draws = torch.Generator().manual_seed(seed)
    return SteeringDictionary(
        user_id=user_id,
        fingerprint="f",
        points=points_of([1], ["mlp"]),
        encoder_name="e",
        entries=[Entry(f"s{n}", f"key {n}", "answer", "response", n) for n in range(3)],
        keys=torch.nn.functional.normalize(torch.randn(3, 4, generator=draws), dim=-1),
        vectors=torch.randn(3, 1, 8, generator=draws).half().float(),
    )


@pytest.fixture
def trimtab(capsys):
    def run(*arguments, code=0):
        assert cli.execute(["store", *map(str, arguments)]) == code
        printed = capsys.readouterr()
        return printed.out if code == 0 else printed.err

    return run


@pytest.fixture
def filled(tmp_path, trimtab):
    """A store with two users, put by the command."""
    files = []
    for seed, user in enumerate(["ann", "bob"]):
        files.append(tmp_path / f"{user}.safetensors")
        dictionary(user, seed).save(files[-1])
    assert trimtab("put", tmp_path / "store.db", *files) == "ann: 3 entries\nbob: 3 entries\n"
    return tmp_path / "store.db"


def test_users_are_put_listed_and_exported(filled, trimtab, tmp_path) -> None:
    assert trimtab("list", filled) == "ann\nbob\n"
    trimtab("export", filled, "bob", tmp_path / "out.safetensors")
    exported = SteeringDictionary.load(tmp_path / "out.safetensors")
    assert exported.entries == dictionary("bob", 1).entries
    assert torch.equal(exported.vectors, dictionary("bob", 1).vectors)


def test_whoever_has_no_dictionary_is_listed_with_all_and_can_be_forgotten(filled, trimtab) -> None:
    with SteeringStore(str(filled)) as store:
        store.put_intervention("cleo", "perfit", {"a": torch.ones(2)})
    assert trimtab("list", filled) == "ann\nbob\n"
    assert trimtab("list", filled, "--all") == "ann\nbob\ncleo\n"
    trimtab("forget", filled, "cleo")
    assert trimtab("list", filled, "--all") == "ann\nbob\n"


def test_a_copy_is_everything_as_json(filled, trimtab, tmp_path) -> None:
    trimtab("copy", filled, "ann", tmp_path / "ann.json")
    copy = json.loads((tmp_path / "ann.json").read_text())
    assert copy["user"] == "ann" and [entry["key"] for entry in copy["entries"]] == [
        "key 0", "key 1", "key 2"
    ]  # fmt: skip
    assert copy["vectors"] == dictionary("ann", 0).vectors.tolist()
    assert trimtab("audit", filled, "ann").splitlines()[-1].split()[2] == "copied"


def test_the_forgotten_are_gone_and_their_trail_too(filled, trimtab) -> None:
    assert trimtab("audit", filled, "ann").split()[2:4] == ["built", "3"]
    trimtab("forget", filled, "ann")
    assert trimtab("list", filled) == "bob\n"
    assert "no dictionary of user 'ann'" in trimtab("forget", filled, "ann", code=2)
    assert {line.split()[2] for line in trimtab("audit", filled).splitlines()} == {
        "built",
        "forgotten",
    }
    assert "built" not in trimtab("audit", filled, "ann")


def test_entries_expire_by_age(filled, trimtab) -> None:
    assert trimtab("expire", filled, "--days", 1) == "0 entries expired\n"
    assert trimtab("expire", filled, "--days", 0) == "6 entries expired\n"
    assert trimtab("list", filled) == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["list"], "there is no steering store at"),
        (["forget", "ann"], "there is no steering store at"),
        (["audit"], "there is no steering store at"),
        (["expire", "--days", "-1"], "expected between 0 and 36500 days, got -1"),
        (["put", "none.safetensors"], "there is no steering dictionary at none.safetensors"),
        (["export", "ann", "a.safetensors"], "there is no steering store at"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing_behind(
    arguments, said, tmp_path, trimtab
) -> None:
    command, *rest = arguments
    error = trimtab(command, tmp_path / "store", *rest, code=2)
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "store").exists()


def test_a_store_is_built_and_used(tmp_path, word_model_folder, trimtab, trimtab_home) -> None:
    save_world(generate_bazaar(users=3, products=100), tmp_path / "world")
    given = ["--model", word_model_folder, "--world", tmp_path / "world"]
    printed = trimtab("build", tmp_path / "store", *given)
    assert "3 users' dictionaries are in" in printed
    store = SteeringStore(tmp_path / "store")
    assert len(store) == 3 and all(len(store[user]) for user in store)
    assert "nobody" in trimtab("build", tmp_path / "store", *given, "--user", "nobody", code=2)
