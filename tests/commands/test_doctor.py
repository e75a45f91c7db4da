"""``trimtab doctor`` on this machine: every line beside what the system itself says."""

import json
import os
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch

from trimtab import cli
from trimtab.steering.weights import container, diagnosis
from trimtab.steering.weights.known import KNOWN
from trimtab.steering.weights.machine import default_dtype

NOBODY = "http://127.0.0.1:9/simple"
"""An address where nothing listens, as on a machine without a network."""


@pytest.fixture(autouse=True)
def _offline(trimtab_home, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", NOBODY)
    monkeypatch.setattr(diagnosis, "_SECONDS", 60.0)  # however slow the machine is
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)


@pytest.fixture
def doctor(capsys):
    """Run the command; what it prints, read as JSON or as it stands."""

    def run(*options):
        assert cli.execute(["doctor", *options]) == 0
        printed = capsys.readouterr()
        assert printed.err == ""
        return json.loads(printed.out) if "--json" in options else printed.out

    return run


def index(doctor):
    return {mirror["name"]: mirror for mirror in doctor("--json")["mirrors"]}["package index"]


@contextmanager
def answering(status):
    """A server on this machine that answers everything with one status."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}/simple"
        server.shutdown()


def test_the_machine_is_told_as_the_system_tells_it(doctor, trimtab_home, monkeypatch):
    monkeypatch.setattr(container, "_groups", lambda *_: ())  # whatever this one may be in
    found = doctor("--json")
    assert found["memory"] == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < found["memory_available"] <= found["memory"]
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert ("avx2" in found["features"]) == torch.cpu._is_avx2_supported()
    assert ("avx512_bf16" in found["features"]) == torch.cpu._is_avx512_bf16_supported()
    assert len(found["gpus"]) == torch.cuda.device_count()
    assert found["device"] == ("cuda" if found["gpus"] else "cpu")
    choice = default_dtype(torch.device(found["device"]))
    assert f"torch.{found['dtype']}" == str(choice.dtype)
    assert found["reason"] == choice.reason
    assert found["versions"]["torch"] == torch.__version__
    assert found["cache"] == str(trimtab_home)
    assert found["disk_free"] > 0


def test_a_person_reads_the_same(doctor, trimtab_home):
    lines = [line.strip() for line in doctor().splitlines()]
    told = {line.split("  ")[0]: line for line in lines}
    choice = default_dtype(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = str(choice.dtype).removeprefix("torch.")
    assert told["dtype"].endswith(f"{dtype}: {choice.reason}")
    if not torch.cuda.is_available():
        assert told["GPU"].endswith("none that PyTorch can use")
    assert str(trimtab_home) in told["cache"]
    assert f"{NOBODY} out of reach:" in told["package index"]
    assert all("\n" not in line and line for line in lines)


def test_what_lies_in_the_cache_is_told(doctor):
    kept, *others = KNOWN.values()
    kept.folder.mkdir(parents=True)
    origin = json.dumps({"sha256": kept.sha256})
    (kept.folder / "trimtab.json").write_text(origin)
    (kept.folder / "model.safetensors").write_bytes(bytes(1000))
    models = {model["name"]: model for model in doctor("--json")["models"]}
    assert models[kept.name]["ready"]
    assert models[kept.name]["size"] == 1000 + len(origin)
    assert [models[other.name]["ready"] for other in others] == [False] * len(others)
    assert f"not pulled: `trimtab models pull {others[0].name}`" in doctor()


def test_without_a_network_both_mirrors_are_out_of_reach(doctor):
    hub, packages = doctor("--json")["mirrors"]
    assert (hub["name"], hub["trouble"]) == ("hub", "HF_HUB_OFFLINE is set")
    assert packages["address"] == NOBODY
    assert "refused" in packages["trouble"]


def test_a_hub_that_is_asked_and_is_not_there(doctor, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    hub = doctor("--json")["mirrors"][0]
    assert hub["address"] == "http://127.0.0.1:9"
    assert "refused" in hub["trouble"]


@pytest.mark.parametrize(("status", "trouble"), [(200, ""), (404, ""), (503, "HTTP status 503")])
def test_a_mirror_that_answers_and_no_password_of_it(doctor, monkeypatch, status, trouble):
    with answering(status) as place:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://ann:secret@{place}")
        found = index(doctor)
    assert found == {"name": "package index", "address": f"http://{place}", "trouble": trouble}


def test_a_mirror_that_never_comes_to_an_end_is_given_up(doctor, monkeypatch):
    monkeypatch.setattr(diagnosis, "_SECONDS", 0.5)
    over = threading.Event()

    def drip(server):
        asked, _ = server.accept()
        with asked:
            # One byte of a header now and then: no single wait is long.
            asked.sendall(b"HTTP/1.1 200 OK\r\nA: ")
            while not over.wait(0.05):
                try:
                    asked.sendall(b"a")
                except OSError:
                    return

    with socket.create_server(("127.0.0.1", 0)) as server:
        dripping = threading.Thread(target=drip, args=[server], daemon=True)
        dripping.start()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        assert index(doctor)["trouble"] == "no answer within 0.5 seconds"
        over.set()
        dripping.join()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [("PIP_NO_INDEX", "1", "PIP_NO_INDEX is set"), ("PIP_INDEX_URL", "http://h:x/", "port")],
)
def test_an_index_that_is_not_to_be_asked_or_is_none(doctor, monkeypatch, name, value, told):
    monkeypatch.setenv(name, value)
    assert told in index(doctor)["trouble"]


def test_pips_own_files_are_read_as_pip_download_reads_them(doctor, monkeypatch, tmp_path):
    monkeypatch.delenv("PIP_INDEX_URL")
    settings = tmp_path / "pip.conf"
    settings.write_text(f"[global]\nindex-url = http://other\n[download]\nindex-url = {NOBODY}\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    assert index(doctor)["address"] == NOBODY


def test_optional_parts_are_told_with_the_line_that_installs_them(doctor, monkeypatch, tmp_path):
    folder = tmp_path / "trimtab-0.0.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: trimtab\nVersion: 0.0.1\n"
        "Requires-Dist: torch\n"
        'Requires-Dist: pytest>=8; extra == "near"\n'
        'Requires-Dist: pytest>=8; extra == "far"\n'
        'Requires-Dist: trimtab-not-there[x]>=2; extra == "far"\n'
        'Requires-Dist: trimtab-not-there; extra == "dev"\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    near, far = doctor("--json")["parts"]
    assert (near["name"], near["missing"]) == ("near", [])
    assert far == {
        "name": "far", "missing": ["trimtab-not-there"], "install": "pip install 'trimtab[far]'"
    }  # fmt: skip
    text = doctor()
    assert "near: installed" in text
    assert "far: without trimtab-not-there; `pip install 'trimtab[far]'`" in text
