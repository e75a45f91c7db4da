import pytest

from trimtab.cli import execute
from trimtab.envs.files.making import make_world
from trimtab.envs.shop.personalwab import load_world
from trimtab.envs.texts.lamp import LAMP, load_lamp
from trimtab.envs.texts.longlamp import load_longlamp
from trimtab.errors import TrimtabError


def test_the_gazette_is_written_as_both_benchmarks_are(tmp_path, capsys):
    sizes = ["--users", "4", "--history", "6", "--tests", "1"]
    assert execute(["data", "make", "gazette", str(tmp_path), *sizes]) == 0
    assert "4 authors of headlines" in capsys.readouterr().out
    for data in (load_lamp(tmp_path, LAMP["headlines"]), load_longlamp(tmp_path)):
        assert len(data.users) == 4 and data.tests == 4


def test_the_bazaar_is_written_as_personalwab_is(tmp_path, capsys):
    assert (
        execute(["data", "make", "bazaar", str(tmp_path), "--users", "3", "--products", "100"]) == 0
    )
    assert "wrote 3 users and 100 products" in capsys.readouterr().out
    assert len(load_world(tmp_path).users) == 3


def test_the_seed_decides(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_world("gazette", tmp_path / name, seed=seed, sizes={"users": 2})
    file = "headlines/dev_questions.json"
    first, same, other = ((tmp_path / name / file).read_bytes() for name in "abc")
    assert first == same != other


def test_sizes_of_another_world_are_refused(tmp_path, capsys):
    with pytest.raises(TrimtabError, match="the gazette has no products; its sizes are users"):
        make_world("gazette", tmp_path, sizes={"products": 5})
    assert execute(["data", "make", "gazette", str(tmp_path), "--users", "0"]) == 2
    assert "expected at least 1 of authors" in capsys.readouterr().err
