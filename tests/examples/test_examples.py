"""The examples run, and do what they say."""

import functools
import importlib.util
from pathlib import Path

import pytest

from trimtab.agent.calling.formats import table
from trimtab.steering import FAMILIES, SteeredModel

FOLDER = Path(__file__).parents[2] / "examples"
MODEL = "smollm2-135m-instruct"

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def loads():
    """Loads a model by its name, once for all examples."""
    return functools.cache(SteeredModel.from_pretrained)


@pytest.fixture
def run(monkeypatch, smollm2_path, loads):
    """Run an example's main function; what it registers is gone afterwards."""
    monkeypatch.setattr(table, "_FORMATS", list(table._FORMATS))
    monkeypatch.setattr(SteeredModel, "from_pretrained", loads)

    def main(name):
        spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.main(MODEL)

    yield main
    FAMILIES.pop("owl", None)


def test_every_example_is_tested_and_named_in_the_readme():
    tested = Path(__file__).read_text(encoding="utf-8")
    readme = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    names = sorted(path.stem for path in FOLDER.glob("*.py"))
    assert len(names) == 6
    for name in names:
        assert f'run("{name}")' in tested
        assert f"examples/{name}.py" in readme


def test_own_tools(run, capsys):
    assert run("own_tools") in ("done", "step limit", "gave up")
    assert "How many mugs" in capsys.readouterr().out


def test_own_texts(run):
    means = run("own_texts")
    assert [name.partition("(")[0] for name in means][:3] == ["zero-shot", "rag", "fints"]
    assert means["rag"] > means["zero-shot"]


def test_own_family(run):
    plain, steered = run("own_family")
    assert plain != steered


def test_own_call_format(run):
    [call] = run("own_call_format")
    assert call["name"] == "weather" and isinstance(call["args"]["city"], str)


def test_chat_model(run):
    assert set(run("chat_model")) == {"ann", "bob"}


def test_plain_transformers(run):
    steered, plain = run("plain_transformers")
    assert steered != plain
