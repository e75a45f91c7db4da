"""Several machines: one Ray cluster on this one, started once for all that needs it."""

import asyncio
import socket
from collections.abc import Iterator

import httpx
import psutil
import pytest

from .letters import LAST, USERS, Asked, asked_of_all, put_letters
from .processes import Server

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """A cluster with room for two workers; gives its address."""
    from trimtab.eval.cluster import connected

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        with connected(cores=2):
            yield ray.get_runtime_context().gcs_address


def processes_of(title: str) -> list[psutil.Process]:
    """The cluster's processes with this title."""
    return [
        one for one in psutil.Process().children(recursive=True) if title in " ".join(one.cmdline())
    ]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_replica_that_dies_loses_nothing_in_silence(
    cluster, served_model, tiny_model_folder, postgres_server, tmp_path, monkeypatch
) -> None:
    place = postgres_server.new_database()
    wanted = put_letters(served_model, place)
    (tmp_path / "model").symlink_to(tiny_model_folder)
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    more = ("--replicas", "2", "--max-waiting", str(USERS))
    server = Server(tmp_path, place, LAST, *more, port=free_port())
    try:
        url = server.url
        asked = Asked()

        async def asked_while_one_dies() -> None:
            asking = asyncio.create_task(asked_of_all([url], wanted, 4, asked, retries=0))
            while asked.right < USERS:
                assert not asking.done()
                await asyncio.sleep(0.01)
            one, other = processes_of("ServeReplica:trimtab")
            assert one.pid != other.pid
            one.kill()
            await asking

        asyncio.run(asked_while_one_dies())
        assert not asked.wrong
        assert asked.right + len(asked.failed) == 4 * USERS
        # Whoever tries again is answered, by the replica that is left or the one made anew.
        again = Asked()
        asyncio.run(asked_of_all([url], wanted, 1, again, retries=8))
        assert (again.right, again.wrong, again.failed) == (USERS, [], [])
        assert server.end() == 0
    finally:
        server.process.kill()


def test_a_users_requests_go_to_one_replica() -> None:
    from trimtab.serve.replicas import preferred, user_in

    replicas = [f"replica-{number}" for number in range(4)]
    first = {user: preferred(b"%d" % user, replicas)[0] for user in range(400)}
    assert all(70 < list(first.values()).count(name) < 130 for name in replicas)
    # One that goes moves its own users alone.
    left = replicas[1:]
    for user, name in first.items():
        assert preferred(b"%d" % user, left)[0] == (
            name if name in left else preferred(b"%d" % user, replicas)[1]
        )
    assert user_in({"path": "/v1/users/ann%2Fb/copy", "raw_path": b"/v1/users/ann%2Fb/copy"}) == (
        b"ann%2Fb"
    )
    assert user_in({"path": "/v1/chat/completions", "headers": [(b"x-trimtab-user", b"ann")]}) == (
        b"ann"
    )
    assert user_in({"path": "/v1/chat/completions", "headers": []}) is None
