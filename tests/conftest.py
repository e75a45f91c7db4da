"""What every test may ask for: an empty cache folder, and the real models."""

import os
from collections.abc import Callable
from pathlib import Path

# Before anything imports huggingface_hub: the suite asks no hub for anything.
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest


@pytest.fixture
def trimtab_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the test's own."""
    folder = tmp_path / "home"
    monkeypatch.setenv("TRIMTAB_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def real_model_path() -> Callable[[str], str]:
    """The folder of a model that has been pulled, by its name."""
    from trimtab.steering.weights import is_ready, model_path

    def find(name: str) -> str:
        if not is_ready(name):
            pytest.fail(f"run `trimtab models pull {name}` first, or deselect: -m 'not model'")
        return model_path(name)

    return find


@pytest.fixture(scope="session")
def default_model_path(real_model_path: Callable[[str], str]) -> str:
    """Qwen2.5-Coder-0.5B-Instruct."""
    return real_model_path("qwen2.5-coder-0.5b-instruct")


@pytest.fixture(scope="session")
def smollm2_path(real_model_path: Callable[[str], str]) -> str:
    """SmolLM2-135M-Instruct."""
    return real_model_path("smollm2-135m-instruct")
