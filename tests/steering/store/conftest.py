"""A store in either database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from trimtab.steering.store.steering_store import SteeringStore


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a store may be made, in either database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/users.db"
    else:
        server = request.getfixturevalue("postgres_server")
        url = server.new_database()
        yield url
        server.drop(url)


@pytest.fixture
def store(place: str) -> Iterator[SteeringStore]:
    store = SteeringStore(place)
    yield store
    store.close()
