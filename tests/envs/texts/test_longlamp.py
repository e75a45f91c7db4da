import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trimtab.envs.texts.longlamp import load_longlamp
from trimtab.errors import TrimtabError

PUBLIC = Path(__file__).parents[4] / "shared/data/longlamp"


def record(name="Ann", title="Graph filters", papers=3, output="An abstract of it.", **extra):
    return {
        "name": name,
        "input": f'Generate an abstract for the title "{title}" using the following items: a, b.',
        "output": output,
        "profile": [
            {"id": str(n), "title": f"Paper {n} of {name}", "abstract": f"We solve task {n}."}
            for n in range(papers)
        ],
        **extra,
    }


def lines(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(r) + "\n" for r in records))


def table(path, records):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(records), path)


def array(path, records):
    path.write_text(json.dumps(records, indent=1))


KINDS = [(lines, "test.jsonl"), (table, "test-00000-of-00001.parquet"), (array, "test.json")]


@pytest.mark.parametrize(("write", "name"), KINDS)
def test_all_kinds_of_files_are_read_alike(tmp_path, write, name):
    write(tmp_path / name, [record(), record("Bob")])
    data = load_longlamp(tmp_path)
    assert data.fingerprint == load_longlamp(tmp_path / name).fingerprint
    ann, bob = data.users
    assert (ann.id, bob.id) == ("Ann", "Bob")
    assert [s.timestamp for s in ann.history] == [1, 2, 3]
    assert (ann.tests[0].id, ann.tests[0].output) == ("test-0", "An abstract of it.")
    assert ann.tests[0].input == record()["input"]


@pytest.mark.parametrize("as_list", [False, True])
@pytest.mark.parametrize(
    "dress",
    [
        lambda text: text.encode("utf-8-sig"),
        lambda text: text.replace("\n", "\r\n").encode("utf-8-sig"),
        lambda text: text.encode("utf-16"),
        lambda text: gzip.compress(text.encode(), mtime=0),
    ],
)
def test_any_encoding_and_line_ending_is_read_alike(tmp_path, dress, as_list):
    records = [record(output="One\u2028two \x85 three."), record("Bob", output="Half \ud83d!")]
    whole = [json.dumps(records[0], ensure_ascii=False), json.dumps(records[1])]
    text = f"[{whole[0]},\n{whole[1]}]\n" if as_list else "\n".join([*whole, ""])
    (tmp_path / "test.jsonl").write_bytes(dress(text))
    ann, bob = load_longlamp(tmp_path).users
    assert ann.tests[0].output == "One\u2028two \x85 three."
    assert bob.tests[0].output == "Half ?!"


def test_a_past_paper_is_asked_for_as_the_benchmark_does(tmp_path):
    lines(tmp_path / "test.jsonl", [record()])
    [user] = load_longlamp(tmp_path).users
    assert user.history[1].input == (
        'Generate an abstract for the title "Paper 1 of Ann" using the following items: solve task.'
    )
    assert user.history[1].output == "We solve task 1."


def test_parts_are_joined_and_training_records_of_the_same_author_are_past(tmp_path):
    folder = tmp_path / "abstract_generation_temporal"
    table(folder / "train-00000-of-00001.parquet", [record("Ann", "Earlier", output="First.")])
    table(folder / "test-00000-of-00002.parquet", [record("Ann", "Later", output="Second.")])
    table(folder / "test-00001-of-00002.parquet", [record("Bob")])
    (tmp_path / "product_review_user").mkdir()
    lines(tmp_path / "product_review_user/test.jsonl", [{"nothing": "of ours"}])
    ann, bob = load_longlamp(tmp_path).users
    assert [s.output for s in ann.history][-1] == "First."
    assert len(ann.history) == 4 and len(bob.history) == 3
    assert load_longlamp(tmp_path, split="train").users[0].tests[0].output == "First."


def test_the_test_s_own_paper_is_not_in_the_past(tmp_path):
    own = record(title="Paper 1 of Ann")
    near = record("Bob", output="one two three four five six seven eight nine ten " * 3)
    near["profile"][0]["abstract"] = near["output"].upper() + "more"
    near["output"] = " ".join(f"w{n}" for n in range(40))
    near["profile"][0]["abstract"] = near["output"].upper() + " more"
    lines(tmp_path / "test.jsonl", [own, near])
    ann, bob = load_longlamp(tmp_path).users
    assert [s.id for s in ann.history] == ["0", "2"]
    assert [s.id for s in bob.history] == ["1", "2"]


def test_years_order_papers(tmp_path):
    own = record(papers=3)
    for paper, year in zip(own["profile"], (2012, 2010, None), strict=True):
        paper["year"] = year
    table(tmp_path / "test.parquet", [own])
    data = load_longlamp(tmp_path)
    assert [s.id for s in data.users[0].history] == ["1", "0"]
    assert data.about["left_out"] == {"past samples without a date among dated ones": 1}


def test_what_cannot_be_used_is_counted(tmp_path):
    blank = record("Bob", papers=4)
    blank["profile"][0]["abstract"] = None
    blank["profile"][1]["title"] = None
    records = [record(output=""), record("Eve", papers=0), blank, {**record("X"), "input": "Hm?"}]
    lines(tmp_path / "test.jsonl", records)
    data = load_longlamp(tmp_path)
    assert [user.id for user in data.users] == ["Bob"]
    assert data.about["left_out"] == {
        "records without a gold": 1,
        "past samples without a text": 2,
        "records whose input is not the task's question": 1,
        "records whose user has no past samples": 1,
    }


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("test.jsonl", "{}\n", r"test.jsonl: record \[0\], field name: is missing"),
        ("test.jsonl", '{"a": 1}\n{"a"\n', r"record \[0\]"),
        ("test.jsonl", json.dumps(record()) + "\n{", "line 2: expected a JSON object"),
        ("test.parquet", "nothing", "is no parquet file"),
        ("test.json", "[1]", r"record \[0\], field record"),
        ("dev_questions.json", "[]", "no abstracts of LongLaMP.* this looks like LaMP"),
        (
            "test.jsonl",
            json.dumps({**record(), "input": "Generate the review text written by a reviewer"}),
            "this looks like LongLaMP's product reviews",
        ),
        ("test.jsonl", json.dumps(record(papers=0)), "no author has a past paper"),
    ],
)
def test_broken_data_is_one_line_that_names_the_place(tmp_path, name, content, says):
    (tmp_path / name).write_text(content)
    with pytest.raises(TrimtabError, match=says):
        load_longlamp(tmp_path)


def test_missing_files_and_splits(tmp_path):
    with pytest.raises(TrimtabError, match="no file or folder"):
        load_longlamp(tmp_path / "nowhere")
    lines(tmp_path / "test.jsonl", [record()])
    with pytest.raises(TrimtabError, match="no split 'train'; there is test"):
        load_longlamp(tmp_path, split="train")


def test_the_user_and_the_temporal_split_are_not_mixed(tmp_path):
    for kind in ("user", "temporal"):
        lines(tmp_path / f"abstract_generation_{kind}/test.jsonl", [record()])
    with pytest.raises(TrimtabError, match="give one"):
        load_longlamp(tmp_path)


@pytest.mark.skipif(not PUBLIC.is_dir(), reason="the public LongLaMP file is not there")
def test_published_abstracts():
    data = load_longlamp(PUBLIC)
    assert [user.id for user in data.users] == ["author-1", "author-2"]
    assert [len(user.history) for user in data.users] == [4, 4]
    assert not data.about["left_out"]
