import pytest

from trimtab.envs.texts.dataset import TextDataset, TextSample, TextUser, select_users
from trimtab.errors import TrimtabError


def user(name, history=3, tests=1):
    samples = [TextSample(str(n), f"in {n}", f"out {n}", n) for n in range(history + tests)]
    return TextUser(name, tuple(samples[:history]), tuple(samples[history:]))


@pytest.fixture
def dataset():
    return TextDataset("d", tuple(user(f"u{n}", history=n) for n in range(20)))


def test_selected_users_have_enough_of_a_past_and_keep_their_order(dataset):
    chosen = select_users(dataset, 5, minimum_history=8, seed=3)
    names = [u.id for u in chosen.users]
    assert len(names) == 5
    assert names == sorted(names, key=lambda name: int(name[1:]))
    assert all(len(u.history) >= 8 for u in chosen.users)
    assert chosen.about["selection"]["able"] == 12


def test_the_seed_decides_and_fewer_users_are_some_of_more(dataset):
    def names(count, seed):
        chosen = select_users(dataset, count, minimum_history=1, seed=seed)
        return {u.id for u in chosen.users}

    assert names(5, 1) == names(5, 1)
    assert names(5, 1) != names(5, 2)
    assert names(5, 1) < names(9, 1)
    assert len(names(None, 1)) == len(names(200, 1)) == 19


def test_users_without_a_test_are_not_chosen():
    data = TextDataset("d", (user("a"), user("b", tests=0)))
    assert [u.id for u in select_users(data, None, minimum_history=1, seed=0).users] == ["a"]


@pytest.mark.parametrize(("count", "history", "says"), [(5, 99, "most is 19"), (0, 1, "at least")])
def test_what_cannot_be_chosen_is_refused(dataset, count, history, says):
    with pytest.raises(TrimtabError, match=says):
        select_users(dataset, count, minimum_history=history, seed=0)


def test_the_fingerprint_is_of_what_is_in_the_data(dataset):
    again = TextDataset("another name", dataset.users)
    assert again.fingerprint == dataset.fingerprint
    first = dataset.users[1]
    moved = TextUser(first.id, first.history[:-1], (*first.history[-1:], *first.tests))
    assert TextDataset("d", (moved,)).fingerprint != TextDataset("d", (first,)).fingerprint


def test_a_description_says_what_was_left_out(dataset):
    described = TextDataset("d", dataset.users[:2], {"left_out": {"odd ones": 3}}).described()
    assert described == "d: 2 users, 1 past samples, 2 tests; left out: 3 odd ones"
