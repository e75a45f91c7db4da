"""A study that is broken off keeps the users that have ended, and asks none of them again."""

import pytest

from trimtab.errors import TrimtabError
from trimtab.eval.studies.by_user import chosen_by_user

USERS = ["ann", "bob", "cid"]


def choices_of(user):
    return [[user, 1, True], [user, 2, False]]


def test_users_that_have_ended_are_not_asked_again(tmp_path):
    asked = []

    def ask(user):
        asked.append(user)
        if user == "cid" and asked.count("cid") == 1:
            raise KeyboardInterrupt
        return choices_of(user)

    part = chosen_by_user(tmp_path, {"task": "a"}, USERS, ask)
    assert part == {user: choices_of(user) for user in ("ann", "bob")}
    whole = chosen_by_user(tmp_path, {"task": "a"}, USERS, ask)
    assert whole == {user: choices_of(user) for user in USERS}
    assert asked == ["ann", "bob", "cid", "cid"]


def test_another_study_is_refused_and_nothing_is_made_of_nobody(tmp_path):
    def stop(user):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        chosen_by_user(tmp_path / "none", {"task": "a"}, USERS, stop)
    chosen_by_user(tmp_path, {"task": "a"}, USERS, choices_of)
    with pytest.raises(TrimtabError, match="another configuration"):
        chosen_by_user(tmp_path, {"task": "b"}, USERS, choices_of)
