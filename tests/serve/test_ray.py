"""Several machines: one Ray cluster on this one, started once for all that needs it."""

import asyncio
import json
import os
import socket
from collections.abc import Iterator
from functools import partial
from itertools import islice

import httpx
import psutil
import pytest

from trimtab.errors import TrimtabError
from trimtab.eval.methods.registry import parse_methods, with_controls
from trimtab.eval.opening import opened
from trimtab.eval.runner import evaluate
from trimtab.eval.texts.plan import TextPlan
from trimtab.steering.model import SteeredModel

from .letters import LAST, Heard, asked_of_all, put_letters
from .processes import Server

ray = pytest.importorskip("ray")

ASKING = 24  # users

exact = partial(SteeredModel.from_pretrained, dtype="float32")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[str]:
    """A cluster with room for two workers; gives its address."""
    from trimtab.eval.cluster import connected

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("TRIMTAB_HOME", str(tmp_path_factory.mktemp("home")))
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
    cluster, served_model, tiny_model_folder, postgres_server, tmp_path
) -> None:
    place = postgres_server.new_database()
    wanted = dict(islice(put_letters(served_model, place).items(), ASKING))
    (tmp_path / "model").symlink_to(tiny_model_folder)
    more = ("--replicas", "2", "--max-waiting", str(ASKING))
    # With whatever Ray has told its other processes, such as the cluster's token.
    own = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
    own["RAY_ADDRESS"] = cluster
    server = Server(tmp_path, place, LAST, *more, port=free_port(), environment=own)
    try:
        url = server.url
        asked = Heard()

        async def asked_while_one_dies() -> None:
            asking = asyncio.create_task(asked_of_all([url], wanted, 2, asked, retries=0))
            while asked.right < ASKING // 4:
                assert not asking.done()
                await asyncio.sleep(0.01)
            one, other = processes_of("ServeReplica:trimtab")
            assert one.pid != other.pid
            one.kill()
            await asking

        asyncio.run(asked_while_one_dies())
        assert not asked.wrong
        assert asked.right + len(asked.failed) == 2 * ASKING
        # Whoever tries again is answered, by the replica that is left or the one made anew.
        again = Heard()
        asyncio.run(asked_of_all([url], wanted, 1, again, retries=8))
        assert (again.right, again.wrong, again.failed) == (ASKING, [], [])
        # A user's requests find the replica that knows of the answer.
        ask = {"model": "tiny", "messages": [{"role": "user", "content": "Who am I?"}]}
        with httpx.Client(base_url=url, timeout=60) as http:
            for user in list(wanted)[:8]:
                mine = {"X-Trimtab-User": user}
                body = {**ask, "user": user, "max_tokens": 1}
                answer = http.post("/v1/chat/completions", json=body, headers=mine).json()
                path = f"/v1/chat/completions/{answer['id']}/feedback"
                told = http.post(path, json={"rating": "good"}, headers=mine)
                assert told.status_code == 202, told.text
        assert server.end() == 0
    finally:
        server.kill()


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


def same(record):
    """A record without its seconds, and with numbers as exact as other batches leave them."""
    plain = record.to_json()
    del plain["seconds"], plain["detail"]
    for name in ("scores", "picked"):
        plain[name] = json.loads(json.dumps(plain[name]), parse_float=lambda n: round(float(n), 3))
    return plain


def test_a_run_on_a_cluster_gives_the_records_of_one_machine(
    cluster, word_model_folder, tmp_path, trimtab_home
) -> None:
    from trimtab.eval.on_ray import evaluate_on_ray

    plan = TextPlan(
        task="headlines",
        methods=tuple(with_controls(parse_methods("zero-shot,rag(k=2,by=bm25),fints(depths=0.5)"))),
        model=str(word_model_folder),
        users=8,
        history=4,
        tests=1,
        max_new_tokens=6,
    )
    with opened(plan, load=exact) as task:
        alone = evaluate(task, plan.methods, tmp_path / "run")
    # What is there is not answered again: a run that one machine has begun.
    lines = (tmp_path / "run" / "results.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "run" / "results.jsonl").write_text("".join(lines[:10]))
    killed = []

    def kill_one(record) -> None:
        if not killed:
            killed.append(processes_of("ray::_Worker")[0])
            killed[0].kill()

    run = evaluate_on_ray(
        plan,
        tmp_path / "run",
        address=cluster,
        workers=2,
        load=exact,
        batch_size=4,
        on_record=kill_one,
    )
    assert killed
    assert not run.code_failures
    wanted = {(r.method, r.sample_id): same(r) for r in alone.records}
    assert {(r.method, r.sample_id): same(r) for r in run.records} == wanted
    assert (len(wanted), run.fresh) == (5 * 8, 30)
    # Each once, though one worker died.
    after = (tmp_path / "run" / "results.jsonl").read_text().splitlines(keepends=True)
    assert len(after) == len(wanted) and after[:10] == lines[:10]


def test_what_a_person_can_put_right_is_said_of_a_cluster_too(cluster, tmp_path) -> None:
    from trimtab.eval.on_ray import evaluate_on_ray

    plan = TextPlan(
        task="texts", methods=tuple(parse_methods("zero-shot")), data=str(tmp_path / "none.jsonl")
    )
    with pytest.raises(TrimtabError) as refused:
        evaluate_on_ray(plan, tmp_path / "run", address=cluster, workers=1)
    assert "\n" not in str(refused.value) and "none" in str(refused.value)
