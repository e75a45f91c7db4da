"""A really running server around a tiny random model, and its clients."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import uvicorn
from openai import OpenAI

from trimtab.serve.app import create_app
from trimtab.serve.opening import open_service
from trimtab.serve.service import RequestLimits
from trimtab.steering.dictionaries.settings import SteeringSettings
from trimtab.steering.model import SteeredModel

SETTINGS = SteeringSettings(sites=("block",), depths=(0.5,), strength=4.0)


@contextmanager
def running(service, **options) -> Iterator[str]:
    """Serve in a thread of this process; gives the URL."""
    app = create_app(service, **options)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)


@pytest.fixture(scope="session")
def serving():
    """``running``, for a server of a test's own."""
    return running


@pytest.fixture(scope="session")
def served_model(tiny_model_folder: Path) -> SteeredModel:
    return SteeredModel.from_pretrained(str(tiny_model_folder), dtype="float32")


@pytest.fixture(scope="session")
def shop_model(word_model_folder: Path) -> SteeredModel:
    """One that reads the shop's words, whose prompts are long."""
    return SteeredModel.from_pretrained(str(word_model_folder), dtype="float32")


@pytest.fixture(scope="module")
def server(served_model, tmp_path_factory) -> Iterator[str]:
    """A server with an empty store."""
    store = tmp_path_factory.mktemp("served") / "users.db"
    short = RequestLimits(new_tokens=48)  # an answer, where a test says nothing
    service = open_service(served_model, store, settings=SETTINGS, name="tiny", limits=short)
    with running(service) as url:
        yield url


@pytest.fixture
def client(server) -> OpenAI:
    return OpenAI(base_url=f"{server}/v1", api_key="none", max_retries=0)


@pytest.fixture
def http(server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server, timeout=60) as one:
        yield one
