"""ToolSpectrum's files, read and checked: an excerpt of our own making, and the official files."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from trimtab.envs.toolspectrum import load_toolspectrum
from trimtab.envs.toolspectrum.descriptions import argument_schema, tool_name
from trimtab.errors import TrimtabError

EXCERPT = Path(__file__).parents[2] / "data" / "toolspectrum"
OFFICIAL = Path(__file__).parents[4] / "shared" / "data" / "toolspectrum"


def test_items_of_one_persona_are_one_persons():
    data = load_toolspectrum(EXCERPT)
    assert [item.persona for item in data.items] == list("01012230")
    assert data.personas["2"].splitlines()[1:] == [
        "Age: 31",
        "Income Level: <3k",
        "Preferences:",
        "- Takes buses wherever they go, and watches every coin.",
    ]
    assert data.items[4].function == "bookSeat"
    # The function has no colour.
    assert (data.items[2].arguments, data.left_out) == (
        {"query": "mugs", "count": 2},
        {"colour": 1},
    )


def test_apps_compete_by_a_functions_name_or_by_their_rules():
    data = load_toolspectrum(EXCERPT)
    both = ("Corner Shop", "Fine Goods")
    assert data.competing == {"Corner Shop": both, "Fine Goods": both, "Night Bus": ("Night Bus",)}
    assert data.toolkit(["Night Bus"]).names == ["Night_Bus.bookSeat"]
    assert len(data.toolkit().names) == 4


@pytest.mark.parametrize(
    ("kind", "words", "schema"),
    [
        ("str", "Search keywords (e.g., 'lamp').", {"type": "string"}),
        ("syt", "Where to.", {"type": "string"}),
        ("int", "How many.", {"type": "integer"}),
        ("float", "How much.", {"type": "number"}),
        ("str", "The method. Available values: [quality, price].", {"enum": ["quality", "price"]}),
        ("str", "The size. [S, M].", {"enum": ["S", "M"]}),
        ("str", "Type (e.g., 'a'). Available values: ['a', 'b']", {"enum": ["a", "b"]}),
        ("int", "Available values: [6, 12]. Defaults to 6.", {"enum": [6, 12]}),
        ("int", "Weight. values: [<250, >500].", {"enum": ["<250", ">500"]}),
        ("list", "Equipment (e.g., 'mat').", {"type": "array", "items": {"type": "string"}}),
        ("list", "As [low, high] (e.g., [0, 1]).", {"type": "array", "items": {"type": "number"}}),
        ("list", "Available values: [x, y].", {"type": "array", "items": {"enum": ["x", "y"]}}),
        ("list", "As [a, b]. Available values: [0, 1], [1, -1].", {"enum": [[0, 1], [1, -1]]}),
    ],
)
def test_types_and_allowed_values_are_read_from_the_words(kind, words, schema):
    assert argument_schema(kind, words) == {**schema, "description": words}


def test_a_third_of_the_personas_is_for_settings():
    data = load_toolspectrum(EXCERPT)
    tune, test = (data.part(part, seed=1) for part in ("tune", "test"))
    assert (len(tune.personas), len(test.personas)) == (1, 3)
    assert {i.id for i in tune.items} | {i.id for i in test.items} == {i.id for i in data.items}
    assert not {i.persona for i in tune.items} & {i.persona for i in test.items}
    assert len(data.part("test", users=2, seed=1).personas) == 2
    with pytest.raises(TrimtabError, match="users of at least 1"):
        data.part("test", users=0)


def changed(folder, change):
    shutil.copytree(EXCERPT, folder)
    for name, edit in change.items():
        path = folder / name
        path.write_text(edit(path.read_text()))
    return folder


def item_with(**what):
    def edit(text):
        items = json.loads(text)
        items[1] |= what
        return json.dumps(items)

    return {"dataset_persona.json": edit}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"dataset_persona.json": lambda text: text[:50]}, "no JSON that can be read"),
        ({"dataset_persona.json": lambda text: "{}"}, "expected a list of items"),
        (item_with(persona=3), "item 1: expected instruction, persona and toolCall"),
        (item_with(instruction=" "), "item 1: expected an instruction"),
        (item_with(toolCall={"APP": "No", "API": "such", "params": {}}), "item 1: .*'No', 'such'"),
        (
            {"API_description_persona.json": lambda t: t.replace("(syt)", "(string)")},
            "Night Bus, bookSeat, to .*expected a type among str",
        ),
        ({"API_description_persona.json": lambda t: t.replace('"APIs"', '"apis"')}, "no 'APIs'"),
    ],
)
def test_what_is_not_the_benchmarks_is_refused_in_one_line(tmp_path, change, told):
    with pytest.raises(TrimtabError, match=told):
        load_toolspectrum(changed(tmp_path / "data", change))


def test_another_folder_is_recognised(tmp_path):
    with pytest.raises(TrimtabError, match="there is no .*dataset_persona.json"):
        load_toolspectrum(tmp_path)
    bfcl = Path(__file__).parents[2] / "data" / "bfcl"
    with pytest.raises(TrimtabError, match=r"this looks like .*\(bfcl\)"):
        load_toolspectrum(bfcl)


@pytest.mark.skipif(not OFFICIAL.is_dir(), reason="the official files are not beside the project")
def test_the_official_files_are_read_whole():
    data = load_toolspectrum(OFFICIAL)
    assert (len(data.items), len(data.personas), len(data.functions)) == (449, 158, 42)
    counts = Counter(item.persona for item in data.items)
    assert (min(counts.values()), max(counts.values())) == (1, 8)
    groups = set(data.competing.values())
    assert ("Maoyan", "Damai") in groups and ("Bank", "Tonghuashun") in groups
    # Every right value is one that the schema allows, but for what the benchmark is unsure of.
    refused = Counter()
    for item in data.items:
        name = tool_name(item.app, item.function)
        fault = data.toolkit([item.app]).validate(name, dict(item.arguments))
        refused[fault is None] += 1
    assert refused[True] > 350
