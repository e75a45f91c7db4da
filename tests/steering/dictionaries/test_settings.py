"""How to steer, as a TOML file: what is written is read, and what is wrong is named."""

import dataclasses
from pathlib import Path

import pytest
import torch

from trimtab import TrimtabError
from trimtab.steering import Entry, Point, SteeredModel, SteeringDictionary
from trimtab.steering.dictionaries.settings import SteeringSettings

ODD = SteeringSettings(
    sites=("attn", "mlp"),
    depths=(0.25, 0.5, 0.75),
    keys="input+answer",
    k=3,
    aggregate="mean",
    temperature=0.05,
    half_life=6.0,
    strength=-1.5,
    positions=(2, 9),
    relative=True,
    cap=0.25,
    outliers="drop",
    contrast="context",
    collective=1.5,
    personal=0.5,
)


@pytest.mark.parametrize(
    "settings", [SteeringSettings(), ODD, SteeringSettings(positions="all", max_norm=4.0)]
)
def test_what_is_saved_is_loaded(settings: SteeringSettings, tmp_path: Path) -> None:
    settings.save(tmp_path / "steering.toml")
    assert SteeringSettings.load(tmp_path / "steering.toml") == settings
    assert SteeringSettings.of(dataclasses.asdict(settings)) == settings


def test_the_odd_one_differs_from_the_default_everywhere() -> None:
    default = dataclasses.asdict(SteeringSettings())
    same = {name for name, value in dataclasses.asdict(ODD).items() if value == default[name]}
    assert same == {"max_norm"}


def write(folder: Path, text: str) -> Path:
    path = folder / "steering.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_is_not_named_keeps_its_default(tmp_path: Path) -> None:
    path = write(tmp_path, "[steering]\nk = 7\nstrength = 2\n[other]\nk = 1\n")
    assert SteeringSettings.load(path) == SteeringSettings(k=7, strength=2.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[steering]\nstrenght = 1.0", "unknown setting 'strenght'; expected aggregate, cap, "),
        ("k = 3", r"is not a settings file: expected a \[steering\] table"),
        ("steering = 3", r"expected a \[steering\] table"),
        ("[steering", "is not a settings file"),
        ('[steering]\nk = "5"', "setting 'k': Input should be a valid integer; got '5'"),
        ("[steering]\nk = true", "setting 'k': Input should be a valid integer; got True"),
        ("[steering]\nk = 0", "expected k of at least 1"),
        ('[steering]\nstrength = "high"', "setting 'strength': Input should be a valid number"),
        ("[steering]\nstrength = inf", "expected finite strength"),
        ("[steering]\nrelative = 1", "setting 'relative': Input should be a valid boolean"),
        ('[steering]\nsites = "mlp"', "setting 'sites': Input should be a valid array; got 'mlp'"),
        ('[steering]\nsites = ["head"]', "setting 'sites': Input should be 'attn', 'mid', 'mlp'"),
        ("[steering]\nsites = []", "at least one of each of sites and depths"),
        ("[steering]\ndepths = [17]", "expected depths from 0 to 1"),
        ('[steering]\naggregate = "median"', "setting 'aggregate': Input should be 'naive', 'm"),
        ('[steering]\npositions = "end"', "setting 'positions': Input should be 'all', 'answer'"),
        ("[steering]\npositions = [1]", "setting 'positions': "),
        ("[steering]\ntemperature = 0.0", "expected a temperature above 0"),
        ("[steering]\nhalf_life = -1.0", "expected a finite half_life of at least 0"),
        ("[steering]\nhalf_life = inf", "expected a finite half_life of at least 0"),
        ("[steering]\ncap = -0.1", "expected cap and max_norm of at least 0"),
        ("[steering]\nrelative = true\nmax_norm = 1.0", "expected relative or max_norm, not both"),
        ('[steering]\noutliers = "shrink"', "setting 'outliers': Input should be 'keep', 'drop'"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(text: str, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(TrimtabError, match=message) as caught:
        SteeringSettings.load(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrimtabError, match=r"there is no settings file at .*nothing.toml"):
        SteeringSettings.load(tmp_path / "nothing.toml")
    with pytest.raises(TrimtabError, match="is not a settings file"):
        SteeringSettings.load(tmp_path)


def test_layers_are_those_at_the_depths(tiny_steered: SteeredModel) -> None:
    assert SteeringSettings(depths=(0.9, 0.3, 0.26, 1.0)).layers(tiny_steered) == [1, 3]


def test_every_setting_reaches_the_steering() -> None:
    vectors = torch.linspace(1, 2, 7 * 4).reshape(7, 1, 4)
    vectors[6] *= 50
    dictionary = SteeringDictionary(
        user_id="ada",
        fingerprint="f",
        points=[Point(1, "mlp")],
        encoder_name="all-MiniLM-L6-v2",
        entries=[Entry(f"s{n}", "", "", "context", n) for n in range(7)],
        keys=torch.eye(7),
        vectors=vectors,
    )
    query = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])
    odd = dataclasses.replace(ODD, collective=0.0, personal=0.0)
    steering = odd.select(dictionary, query, before=99, without={"s5"})
    assert steering is not None
    assert [p.entry.sample_id for p in steering.picked] == ["s4", "s3", "s2"]  # s6 is an outlier
    assert [p.weight for p in steering.picked] == [pytest.approx(1 / 3)] * 3
    assert (steering.strength, steering.positions, steering.decay) == (-1.5, (2, 9), 1.0)
    assert (steering.relative, steering.cap, steering.max_norm) == (True, 0.25, None)
    bounded = SteeringSettings(max_norm=4.0, k=2, temperature=0.5).select(dictionary, query)
    assert bounded is not None and (bounded.max_norm, bounded.cap) == (4.0, None)
    weights = torch.tensor([0.7, 0.6]).div(0.5).softmax(0)
    torch.testing.assert_close(torch.tensor([p.weight for p in bounded.picked]), weights)
    assert SteeringSettings().select(dictionary, query, before=0) is None
    assert SteeringSettings(contrast="response").select(dictionary, query) is None
