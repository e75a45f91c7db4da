"""Counts by arm, keys, and a store that an older version made."""

import sqlalchemy as sa

from trimtab.steering.store import schema
from trimtab.steering.store.outcomes import Counted
from trimtab.steering.store.steering_store import SteeringStore

LATE = 2**53


def counted(user: str, arm: str = "steered", since: int = LATE, **counts: int) -> Counted:
    return Counted(user, arm, since, dict.fromkeys(schema.COUNTED, 0) | counts)


def test_counts_add_up_by_user_and_arm(tmp_path) -> None:
    with SteeringStore(tmp_path / "users.db") as store:
        assert store.outcomes.all() == []
        store.outcomes.add([counted("ann", answers=2, good=1), counted("bob", answers=5)])
        store.outcomes.add([counted("ann", answers=1), counted("ann", "held out", answers=4)])
        found = sorted((arm, counts["answers"], counts["good"]) for arm, counts in
                       store.outcomes.all())  # fmt: skip
        assert found == [("held out", 4, 0), ("steered", 3, 1), ("steered", 5, 0)]


def test_what_was_counted_before_a_user_was_forgotten_does_not_come_back(tmp_path) -> None:
    with SteeringStore(tmp_path / "users.db") as store:
        store.outcomes.add([counted("ann", answers=2)])
        store.forget("ann")
        assert store.outcomes.all() == []
        store.outcomes.add([counted("ann", since=1, answers=2)])
        assert store.outcomes.all() == []
        store.outcomes.add([counted("ann", answers=3)])
        assert [counts["answers"] for _, counts in store.outcomes.all()] == [3]


def test_a_store_of_the_version_before_gets_its_table_at_the_first_write(tmp_path) -> None:
    place = tmp_path / "users.db"
    with SteeringStore(place) as store:
        store.switch("ann", strength=0.5)
    older = sa.create_engine(f"sqlite:///{place}")
    with older.begin() as connection:
        schema.outcomes.drop(connection)
        schema.write_about(connection, "schema", "1")
    older.dispose()
    with SteeringStore(place) as store:
        assert store.outcomes.all() == []
        store.outcomes.add([counted("ann", answers=2)])
        assert [counts["answers"] for _, counts in store.outcomes.all()] == [2]
        known = store.user("ann")
        assert known is not None and known.switches.strength == 0.5
    with SteeringStore(place) as store, store.database.reading() as connection:
        assert connection is not None
        assert schema.read_about(connection)["schema"] == str(schema.VERSION)
