import gzip
import json
from pathlib import Path

import pytest

from trimtab.envs.texts.lamp import LAMP, load_lamp, missing_data
from trimtab.errors import TrimtabError

PUBLIC = Path(__file__).parents[4] / "shared/data/lamp"
needs_public = pytest.mark.skipif(
    not PUBLIC.is_dir(), reason="the public LaMP files are not beside the project"
)

PROFILES = {
    "headlines": {"text": "An article.", "title": "A Headline"},
    "lamp-2n": {"text": "An article.", "title": "A Headline", "category": "travel"},
    "lamp-2m": {"description": "A film.", "tag": "sci-fi"},
    "lamp-3": {"text": "A review.", "score": "4"},
    "lamp-5": {"abstract": "An abstract.", "title": "A Title"},
    "lamp-7": {"text": "a tweet"},
}
GOLDS = {"lamp-2n": "sports", "lamp-2m": "comedy", "lamp-3": "5"}


def write(folder, task, records, golds=None, split="dev", name=None, prefix=""):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{prefix}{split}_questions.json").write_text(json.dumps(records))
    if golds is not None:
        number = LAMP[task].name[5]
        outputs = {
            "task": name or f"LaMP_{number}",
            "golds": [{"id": key, "output": value} for key, value in golds.items()],
        }
        (folder / f"{prefix}{split}_outputs.json").write_text(json.dumps(outputs))
    return folder


def question(task, name, body="What it is about.", items=2, **extra):
    profile = [
        {
            "id": f"{name}{n}",
            **{
                key: value if key in ("category", "tag", "score") else f"{value} {name}-{n}"
                for key, value in PROFILES[task].items()
            },
        }
        for n in range(items)
    ]
    text = f"{LAMP[task].question}{body}"
    return {"id": name, "input": text, "profile": profile, **extra}


@pytest.mark.parametrize("task", LAMP)
def test_each_task_is_read_and_the_past_is_asked_as_the_questions_are(tmp_path, task):
    gold = GOLDS.get(task, "The gold")
    write(tmp_path, task, [question(task, "7")], {"7": gold})
    [user] = load_lamp(tmp_path, LAMP[task]).users
    [test] = user.tests
    assert (user.id, test.id, test.output) == ("7", "7", gold)
    assert test.input == f"{LAMP[task].question}What it is about."
    body, output = LAMP[task].body, LAMP[task].output
    expected = question(task, "7")["profile"]
    for sample, entry in zip(user.history, expected, strict=True):
        assert sample.output == entry[output]
        assert sample.input == (f"{LAMP[task].question}{entry[body]}" if body else "")
    assert user.history[-1].timestamp < test.timestamp


@pytest.mark.parametrize(
    "dress",
    [
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: gzip.compress(text.encode(), mtime=0),
    ],
)
def test_any_encoding_and_line_ending_is_read_alike(tmp_path, dress):
    tweets = [question("lamp-7", "7", "One\u2028two \x85 three."), question("lamp-7", "8", "Hm.")]
    write(tmp_path, "lamp-7", tweets, {"7": "one\u2028two", "8": "Half \ud83d!"})
    for path in tmp_path.iterdir():
        content = json.loads(path.read_text())
        plain = json.dumps(content, indent=1, ensure_ascii="outputs" in path.name)
        path.write_bytes(dress(plain))
    first, second = load_lamp(tmp_path, LAMP["lamp-7"]).users
    assert first.tests[0].input.endswith("One\u2028two \x85 three.")
    assert first.tests[0].output == "one\u2028two"
    assert second.tests[0].output == "Half ?!"


def test_a_file_of_the_split_does_as_well_as_the_folder(tmp_path):
    write(tmp_path, "headlines", [question("headlines", "7")], {"7": "G"}, prefix="LaMP_4_")
    both = [
        load_lamp(tmp_path / f"LaMP_4_dev_{kind}.json", LAMP["headlines"])
        for kind in ("questions", "outputs")
    ]
    assert {data.fingerprint for data in both} == {
        load_lamp(tmp_path, LAMP["headlines"]).fingerprint
    }


def test_other_tasks_in_the_folder_are_passed_over(tmp_path):
    write(tmp_path, "headlines", [question("headlines", "7")], {"7": "G"}, prefix="LaMP_4_")
    write(tmp_path, "lamp-7", [question("lamp-7", "8")], {"8": "g"}, prefix="LaMP_7_")
    assert load_lamp(tmp_path, LAMP["lamp-7"]).users[0].id == "8"


def test_dev_is_preferred_and_a_split_can_be_named(tmp_path):
    for split, name in (("train", "1"), ("dev", "2"), ("test", "3")):
        golds = None if split == "test" else {name: "G"}
        write(tmp_path / split, "lamp-5", [question("lamp-5", name)], golds, split=split)
    task = LAMP["lamp-5"]
    assert load_lamp(tmp_path, task).users[0].id == "2"
    assert load_lamp(tmp_path, task, split="train").users[0].id == "1"
    [unknown] = load_lamp(tmp_path, task, split="test").users
    assert unknown.tests[0].output == ""
    with pytest.raises(TrimtabError, match="no split 'dve'"):
        load_lamp(tmp_path, task, split="dve")


def test_the_time_split_s_train_records_are_the_past_of_the_same_users(tmp_path):
    train = [
        question("headlines", "1", "Early news.", user_id="ann"),
        question("headlines", "2", "Other news.", user_id="bob"),
    ]
    dev = [
        question("headlines", "3", "Late news.", user_id="ann"),
        question("headlines", "4", "Later news.", user_id="ann"),
    ]
    for entry in (*train, *dev):  # the same profile, numbered anew for each record
        entry["profile"] = [
            {**item, "id": f"{entry['id']}{n}", "text": f"T{n}", "title": f"H{n}", "date": "2015"}
            for n, item in enumerate(entry["profile"])
        ]
    write(tmp_path / "train", "headlines", train, {"1": "E", "2": "O"}, split="train")
    write(tmp_path / "valid", "headlines", dev, {"3": "L", "4": "M"})
    [user] = load_lamp(tmp_path, LAMP["headlines"]).users
    assert user.id == "ann"
    assert [s.output for s in user.history] == ["H0", "H1", "E"]
    assert [s.output for s in user.tests] == ["L", "M"]
    assert user.history[-1].input == f"{LAMP['headlines'].question}Early news."


def test_golds_may_stand_in_the_records(tmp_path):
    write(tmp_path, "lamp-5", [question("lamp-5", "7", output="In the record")])
    assert load_lamp(tmp_path, LAMP["lamp-5"]).users[0].tests[0].output == "In the record"


def test_what_cannot_be_used_is_counted(tmp_path):
    good = question("lamp-2m", "1")
    good["profile"] += [
        {"id": "x", "description": " ", "tag": "comedy"},
        {"id": "y", "description": "A film.", "tag": "no such tag"},
    ]
    odd = {**question("lamp-2m", "2"), "input": "What is this?"}
    records = [good, odd, *(question("lamp-2m", name) for name in "3456")]
    records[-1]["profile"] = []
    golds = {
        "1": "comedy",
        "2": "comedy",
        "3": "",
        "4": "no such tag",
        "6": "action",
        "9": "action",
    }
    write(tmp_path, "lamp-2m", records, golds)
    data = load_lamp(tmp_path, LAMP["lamp-2m"])
    assert [user.id for user in data.users] == ["1"]
    assert data.about["left_out"] == {
        "golds without a question": 1,
        "past samples without a text": 1,
        "past samples with a label that the task does not have": 1,
        "records whose input is not the task's question": 1,
        "records without a gold": 2,
        "records whose gold is no label of the task": 1,
        "records whose user has no past samples": 1,
    }


def break_json(folder):
    (folder / "dev_questions.json").write_text('[{"id": "7", ')


def lose_input(folder):
    write(folder, "headlines", [{"id": "7", "profile": []}])


def lose_title(folder):
    record = question("headlines", "7")
    del record["profile"][1]["title"]
    write(folder, "headlines", [record])


def number_title(folder):
    record = question("headlines", "7")
    record["profile"][0]["title"] = ["a"]
    write(folder, "headlines", [record])


def same_ids(folder):
    write(folder, "headlines", [question("headlines", "7")] * 2)


def same_golds(folder):
    golds = [{"id": "7", "output": "G"}] * 2
    (folder / "dev_outputs.json").write_text(json.dumps({"task": "LaMP_4", "golds": golds}))


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (break_json, "dev_questions.json: Invalid JSON"),
        (lose_input, r"dev_questions.json: record \[0\], field input: is missing"),
        (lose_title, r"record '7', profile item \[1\]: field title is missing \(LaMP-4 needs it\)"),
        (number_title, r"profile item \[0\]: field title expected a text, got \"\['a'\]\""),
        (same_ids, "2 records have the id '7'"),
        (same_golds, "dev_outputs.json: 2 golds have the id '7'"),
        (lambda f: write(f, "headlines", []), "no records"),
        (lambda f: (f / "dev_outputs.json").unlink(), "no golds; expected dev_outputs.json"),
        (
            lambda f: write(f, "headlines", [question("headlines", "7")], {"8": "G"}),
            r"no gold has the id of a question in dev_questions.json \(golds from '8'",
        ),
        (
            lambda f: write(
                f, "headlines", [question("headlines", "7")], {"7": "G"}, name="LaMP_5"
            ),
            "golds of LaMP_5, expected those of LaMP-4",
        ),
        (
            lambda f: write(f, "headlines", [question("lamp-7", "7")], {"7": "G"}),
            r"expected LaMP-4's questions .* looks like LaMP-7 \(tweets; lamp-7\)",
        ),
        (
            lambda f: write(f, "headlines", [question("headlines", "7", items=0)], {"7": "G"}),
            "no record has a past sample",
        ),
    ],
)
def test_broken_data_is_one_line_that_names_the_place(tmp_path, spoil, says):
    write(tmp_path, "headlines", [question("headlines", "7")], {"7": "G"})
    spoil(tmp_path)
    with pytest.raises(TrimtabError, match=says) as caught:
        load_lamp(tmp_path, LAMP["headlines"])
    assert "\n" not in str(caught.value)


def test_another_benchmark_s_folder_is_recognised(tmp_path):
    (tmp_path / "user_instructions.json").write_text("{}")
    with pytest.raises(TrimtabError, match="a shopping world in PersonalWAB's format"):
        load_lamp(tmp_path, LAMP["headlines"])
    with pytest.raises(TrimtabError, match="no file or folder"):
        load_lamp(tmp_path / "nowhere", LAMP["headlines"])
    lines = tmp_path / "test.jsonl"
    lines.write_text("{}\n")
    with pytest.raises(TrimtabError, match=r"expected LaMP-4's .* this looks like LongLaMP"):
        load_lamp(lines, LAMP["headlines"])


def test_two_files_of_one_split_are_refused(tmp_path):
    for folder in ("user", "time"):
        write(tmp_path / folder, "lamp-5", [question("lamp-5", "7")], {"7": "G"})
    with pytest.raises(TrimtabError, match="two dev splits"):
        load_lamp(tmp_path, LAMP["lamp-5"])


def test_missing_data_names_the_files():
    assert "dev_questions.json" in missing_data(LAMP["lamp-3"])


@needs_public
def test_published_headlines():
    [user] = load_lamp(PUBLIC, LAMP["headlines"]).users
    assert len(user.history) == 17
    question = LAMP["headlines"].question
    assert all(s.input.startswith(question) for s in (*user.history, *user.tests))
    assert user.tests[0].output == "Social Media Gone Awry: Tips for Teens to Stay Safe"


@needs_public
def test_published_tweets_hold_some_tests_own_texts():
    data = load_lamp(PUBLIC, LAMP["lamp-7"])
    # Counted by hand: four records whose profile repeats the gold, one of which repeats nothing
    # else, and which has no user left.
    assert len(data.users) == 299
    assert data.about["left_out"] == {
        "past samples that are there twice": 18,
        "past samples that are a test's own text": 170,
        "records whose user has no past samples": 1,
    }
    for user in data.users:
        past = {sample.output.strip().lower() for sample in user.history}
        assert user.tests[0].output.strip().lower() not in past
