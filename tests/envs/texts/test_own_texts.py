"""People's own records: read from every kind of file, divided in time, and bad ones told."""

import csv
import gzip
import io
import json
from pathlib import Path

import pytest

from trimtab.envs.texts.own_records import EXAMPLE
from trimtab.envs.texts.own_texts import load_own_texts, missing_data
from trimtab.errors import TrimtabError

PUBLIC = Path(__file__).parents[4] / "shared/data"
needs_public = pytest.mark.skipif(
    not PUBLIC.is_dir(), reason="the public benchmarks' files are not beside the project"
)


def record(n, user="ann", **fields):
    return {"user": user, "input": f"Question {n}?", "output": f"answer {n} of {user}", **fields}


def dated(n, user="ann", day=None, **fields):
    return record(n, user, time=f"2024-05-{n if day is None else day:02}", **fields)


def json_lines(records):
    return "".join(json.dumps(r) + "\n" for r in records).encode()


def csv_table(records, separator=","):
    text = io.StringIO()
    names = list(dict.fromkeys(name for r in records for name in r))
    writer = csv.DictWriter(text, names, delimiter=separator)
    writer.writeheader()
    writer.writerows(records)
    return text.getvalue().encode()


@pytest.fixture
def load(tmp_path):
    def load(records, name="mine.jsonl"):
        content = records if isinstance(records, bytes) else json_lines(records)
        (tmp_path / name).write_bytes(content)
        return load_own_texts(tmp_path / name)

    return load


def ids(samples):
    return [sample.id for sample in samples]


def outputs(samples):
    return [sample.output for sample in samples]


KINDS = [
    ("mine.jsonl", json_lines),
    ("mine.jsonl.gz", lambda records: gzip.compress(json_lines(records), mtime=0)),
    ("mine.csv", csv_table),
    ("mine.csv.gz", lambda records: gzip.compress(csv_table(records), mtime=0)),
    ("mine.tsv", lambda records: csv_table(records, "\t")),
    ("mine.csv", lambda records: b"\xef\xbb\xbf" + csv_table(records, ";")),
]


@pytest.mark.parametrize(("name", "content"), KINDS)
def test_all_kinds_of_files_are_read_alike(load, name, content):
    records = [
        dated(n, user, id=f"{user}{n}", output=f"“{n}”, said {user};\nto\tÅsa")
        for user in ("ann", "bob")
        for n in range(1, 6)
    ]
    data = load(content(records), name)
    ann, bob = data.users
    assert (ann.id, bob.id) == ("ann", "bob")
    assert ids(ann.history) == ["ann1", "ann2", "ann3", "ann4"]
    [test] = ann.tests
    assert (test.id, test.input, test.output) == (
        "ann5",
        "Question 5?",
        "“5”, said ann;\nto\tÅsa",
    )
    assert data.fingerprint == load(records).fingerprint
    assert data.described() == f"own texts ({name}): 2 users, 8 past samples, 2 tests"


@pytest.mark.parametrize(
    ("count", "tests"), [(2, ["2"]), (4, ["4"]), (5, ["5"]), (9, ["9"]), (10, ["10", "9"])]
)
def test_the_latest_fifth_and_at_least_one_are_tests(load, count, tests):
    # The newest stands first in the file: time decides, not the order there.
    records = [dated(n, id=str(n)) for n in range(count, 0, -1)]
    [user] = load(records).users
    assert sorted(ids(user.tests)) == tests
    assert ids(user.history) == [str(n) for n in range(1, count - len(tests) + 1)]
    times = [sample.timestamp for sample in (*user.history, *user.tests)]
    assert times == sorted(times)


def test_without_times_the_order_of_the_file_counts(load):
    data = load([record(n, user) for n in (3, 1, 2) for user in ("ann", "bob")])
    ann, bob = data.users
    assert outputs(ann.history) == ["answer 3 of ann", "answer 1 of ann"]
    assert outputs(bob.tests) == ["answer 2 of bob"]
    assert [s.timestamp for s in (*ann.history, *ann.tests)] == [1, 2, 3]
    assert "in the order of the file" in data.described()


@pytest.mark.parametrize(
    "times",
    [
        pytest.param([1714521600, 1714521700, 1714521800.5], id="seconds"),
        pytest.param([1714521600000, 1714521700000, 1714521800500], id="milliseconds"),
        pytest.param(["1714521600", "1714521700", "1714521800.5"], id="seconds in a text"),
        pytest.param(
            ["2024-05-01", "2024-05-01T00:01:40Z", "2024-05-01T02:03:20.5+02:00"], id="dates"
        ),
    ],
)
def test_times_are_seconds_milliseconds_or_dates(load, times):
    [user] = load([record(n, time=time) for n, time in enumerate(times)]).users
    assert [s.timestamp for s in (*user.history, *user.tests)] == [
        1714521600000, 1714521700000, 1714521800500,
    ]  # fmt: skip


def test_what_is_not_earlier_than_the_first_test_is_no_past(load):
    # Of ten the latest two are tests; the same day as the first of them has a third.
    days = [1, 2, 3, 4, 5, 6, 7, 8, 8, 9]
    data = load([dated(n, day=day, id=str(n)) for n, day in enumerate(days)])
    assert ids(data.users[0].history) == list("0123456")
    assert ids(data.users[0].tests) == ["8", "9"]
    assert "left out: 1 past samples that are not earlier than a test" in data.described()


def test_a_split_says_what_is_tested_and_time_still_what_is_past(load):
    days = {1: "train", 2: "test", 3: "train", 4: "test"}
    data = load([dated(n, id=str(n), split=split) for n, split in days.items()])
    [user] = data.users
    assert (ids(user.history), ids(user.tests)) == (["1"], ["2", "4"])
    assert data.about["left_out"] == {"past samples that are not earlier than a test": 1}


def test_without_times_what_is_marked_train_comes_before_what_is_marked_test(load):
    splits = {1: "test", 2: "train", 3: "train", 4: "test"}
    [user] = load([record(n, id=str(n), split=split) for n, split in splits.items()]).users
    assert (ids(user.history), ids(user.tests)) == (["2", "3"], ["1", "4"])


def test_the_past_may_lack_an_input_and_a_record_an_id(load):
    records = [record(1), record(2, input=None), record(3, input=" "), record(4)]
    del records[0]["input"]
    [user] = load(json_lines(records).replace(b"\n", b"\n\n")).users
    assert [s.input for s in (*user.history, *user.tests)] == ["", "", "", "Question 4?"]
    assert ids(user.history) == ["line-1", "line-3", "line-5"]


def test_ids_and_users_may_be_numbers_and_two_users_may_share_ids(load):
    data = load([record(n, user, id=n) for user in (7, 8) for n in (1, 2)])
    assert [user.id for user in data.users] == ["7", "8"]
    assert all(ids((*user.history, *user.tests)) == ["1", "2"] for user in data.users)


def test_the_past_does_not_hold_a_test_s_own_text(load):
    records = [dated(n, id=str(n)) for n in range(1, 6)]
    records[0] |= {"input": "", "output": "Answer 5, of Ann!"}
    records[1] |= {"input": "question 5"}
    data = load(records)
    assert ids(data.users[0].history) == ["3", "4"]
    assert data.about["left_out"] == {"past samples that are a test's own text": 2}


def test_an_input_that_many_texts_answer_is_an_instruction_and_makes_no_text_the_test_s(load):
    records = [dated(n, id=str(n), input="Write a post.") for n in range(1, 6)]
    records[2]["output"] = records[4]["output"].upper()
    data = load(records)
    [user] = data.users
    assert ids(user.history) == ["1", "2", "4"]
    assert {sample.input for sample in (*user.history, *user.tests)} == {"Write a post."}
    assert data.about["left_out"] == {"past samples that are a test's own text": 1}


def test_what_cannot_be_used_is_counted(load):
    data = load(
        [
            *(dated(n) for n in (1, 2, 2, 3)),
            dated(4, output=""),
            dated(5, output=None),
            dated(1, "bob"),
            dated(1, "eve", output=" "),
            *(dated(n, "dan", day=1) for n in (1, 2)),
        ]
    )
    assert [user.id for user in data.users] == ["ann"]
    assert data.about == {
        "records": 10,
        "users": 1,
        "left_out": {
            "records without an output": 3,
            "records that are there twice": 1,
            "users with a single record": 1,
            "past samples that are not earlier than a test": 1,
            "records whose user has no past samples": 1,
        },
    }


def test_users_without_a_past_or_a_test_are_counted(load):
    records = [
        *(record(n, split=split) for n, split in enumerate(["train", "test"])),
        *(record(n, "bob", split="train") for n in range(2)),
        *(record(n, "eve", split="test") for n in range(2)),
    ]
    assert load(records).about["left_out"] == {"users with no test": 1, "users with no past": 1}


def without(name):
    return {key: value for key, value in record(2).items() if key != name}


@pytest.mark.parametrize(
    ("second", "says"),
    [
        (without("user"), "field user: is missing; the record has 'input', 'output'$"),
        (without("output"), "field output: is missing; the record has 'user', 'input'$"),
        (record(2, ""), "field user: expected who wrote the text, got ''$"),
        (record(2, None), "field user: expected who wrote the text, got None$"),
        (record(2, ["ann"]), r"field user: expected a text or a whole number, got \['ann'\]$"),
        (record(2, True), "field user: expected a text or a whole number, got True$"),
        (record(2, output=3), "field output: expected a text, got 3$"),
        (record(2, input={"a": 1}), "field input: expected a text, got {'a': 1}$"),
        (record(2, input=None), "field input: expected what was asked, .* the latest fifth of 'a"),
        (record(2, id=1.5), "field id: expected a text or a whole number, got 1.5$"),
        (record(2, split="dev"), "field split: expected 'train' or 'test', got 'dev'$"),
        (record(2, split="test"), "field split: expected none as in line 1, got one; all"),
        (record(2, time="soon"), "field time: expected seconds or milliseconds since 1970, or a "
         "date like 2024-05-01, got 'soon'$"),
        (record(2, time=True), "field time: expected seconds .*, got True$"),
        (record(2, time=1714521600000000), "field time: expected seconds .*, got 17145216"),
        (record(2, time=1714521600), "field time: expected none as in line 1, got seconds; all"),
        ("[1, 2]", r"expected a JSON object, got '\[1, 2\]'$"),
        ('{"user": "ann", "inp', r"expected a JSON object, got '.* \(EOF .* at character 20\)$"),
    ],
)  # fmt: skip
def test_a_broken_record_is_one_line_that_names_its_place(load, second, says):
    line = second if isinstance(second, str) else json.dumps(second)
    with pytest.raises(TrimtabError, match=rf"mine.jsonl: line 2(, |: ){says}") as caught:
        load(json_lines([record(1)]) + line.encode())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("records", "says"),
    [
        (
            [record(1, time=1714521600), record(2, time=1714521600000)],
            "line 2, field time: expected seconds as in line 1, got milliseconds; all records",
        ),
        (
            [dated(1), record(2, time=1714521600)],
            "line 2, field time: expected a date as in line 1, got seconds",
        ),
        ([dated(1), record(2)], "line 2, field time: expected a date as in line 1, got none"),
        (
            [record(1, split="train"), record(2)],
            "line 2, field split: expected one as in line 1, got none",
        ),
        (
            [record(1, split="train"), record(2, split="test", input="")],
            "line 2, field input: expected what was asked, since the record is marked a test",
        ),
        (
            [record(1, id="a"), record(2), record(3, id="a")],
            "line 3, field id: expected one that user 'ann' has not yet, got 'a', which line 1 has",
        ),
        ([], "no records; expected .jsonl, .csv or .tsv with a record a line, such as {"),
        ([dated(1), dated(2, day=1)], "no user has a past text and a later test; left out: 1 past"),
        (
            [record(1), record(2, "bob")],
            "no user has a past text .*; left out: 2 users with a single record",
        ),
    ],
)
def test_records_that_do_not_go_together_are_one_line(load, records, says):
    with pytest.raises(TrimtabError, match=f"mine.jsonl: {says}") as caught:
        load(records)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("mine.jsonl", json_lines([record(1)]) + b'{"user": "Jos\xe9"}', "line 2: .* in UTF-8"),
        ("mine.csv", b"user,input,output\nJos\xe9,a,b\n", "expected text in UTF-8"),
        ("mine.csv", b"", "expected a CSV file whose first line names its columns"),
        ("mine.csv", b"user,output,input\n", "no records; expected"),
        (
            "mine.csv",
            b'user,output,input\nann,a,b\nann,"two\nlines"\n',
            "line 3: expected 3 fields as in the first line, got 2",
        ),
        (
            "mine.csv",
            b'user,output,input,time\nann,"two\nlines",a,1714521600\nann,b,c,soon\n',
            "line 4, field time: expected seconds",
        ),
        ("mine.csv", b"who,text\nann,a\n", "line 2, field user: is missing; .* 'who', 'text'$"),
        (
            "mine.jsonl.gz",
            gzip.compress(json_lines([record(1)] * 9), mtime=0)[:40],
            "a broken gzip file",
        ),
    ],
)
def test_broken_files_are_one_line(load, name, content, says):
    with pytest.raises(TrimtabError, match=f"{name}: {says}") as caught:
        load(content, name)
    assert "\n" not in str(caught.value)


LAMP = {"id": "7", "input": "Generate a headline for the following article: A", "profile": []}
LONGLAMP = {"name": "Ann", "input": 'Generate an abstract for the title "A" using', "output": "B"}
BFCL = {"id": "simple_0", "question": [[{"role": "user", "content": "a"}]], "function": []}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", json.dumps([LAMP]), r"got a JSON list; this looks like LaMP-4 \(headlines\)$"),
        ("a.json", json.dumps([LAMP], indent=1), r"a JSON list; .* LaMP-4 \(headlines\)$"),
        ("a.json", json.dumps({"task": "LaMP_7", "golds": []}), r"the outputs of LaMP-7 \(tweets;"),
        ("a.jsonl", json.dumps(LONGLAMP), r"field user: is missing; .* abstracts \(abstracts\)$"),
        ("a.parquet", "PAR1", r"this looks like LongLaMP \(abstracts\)$"),
        ("a.json", json.dumps(BFCL), r"field user: .* Function Calling Leaderboard \(bfcl\)$"),
        ("a.json", json.dumps([record(1)]), "expected one JSON object a line, got a JSON list$"),
        # Only what fails at once can be another's: this one has begun as it should.
        ("a.jsonl", json.dumps(record(0, input=LAMP["input"])) + "\n{", r"line 2: [^;]*$"),
    ],
)
def test_a_benchmark_s_file_is_recognised(load, name, content, says):
    with pytest.raises(TrimtabError, match=says):
        load(content.encode(), name)


def test_a_folder_or_nothing_is_not_a_file_of_records(tmp_path):
    with pytest.raises(TrimtabError, match="there is no file .*nowhere.jsonl; expected .jsonl, "):
        load_own_texts(tmp_path / "nowhere.jsonl")
    with pytest.raises(TrimtabError, match="expected a file, got a folder$"):
        load_own_texts(tmp_path)
    (tmp_path / "dev_questions.json").write_text("[]")
    with pytest.raises(TrimtabError, match="got a folder; this looks like LaMP$"):
        load_own_texts(tmp_path)
    (tmp_path / "mine.csv.gz").write_bytes(b"")
    with pytest.raises(TrimtabError, match="got a folder; give one .*, such as .*mine.csv.gz$"):
        load_own_texts(tmp_path)


def test_the_example_is_a_record(load):
    assert EXAMPLE in missing_data()
    later = EXAMPLE.replace("coming", "going").replace("on my way", "not yet")
    [user] = load(f"{EXAMPLE}\n{later.replace('05-01', '05-02')}".encode()).users
    assert (user.id, outputs(user.history), outputs(user.tests)) == (
        "ann",
        ["on my way!"],
        ["not yet!"],
    )


@needs_public
@pytest.mark.parametrize(
    ("file", "task"),
    [
        ("lamp/LaMP_4_dev_questions.json", "headlines"),
        ("lamp/LaMP_7_dev_questions.json", "lamp-7"),
        ("lamp/LaMP_7_dev_outputs.json", "lamp-7"),
        ("longlamp/test.jsonl", "abstracts"),
        ("bfcl/BFCL_v4_multiple.json", "bfcl"),
        ("bfcl/possible_answer/BFCL_v4_multiple.json", "bfcl"),
    ],
)
def test_the_published_files_are_recognised(file, task):
    with pytest.raises(TrimtabError, match=rf"; this looks like .*\b{task}\)$"):
        load_own_texts(PUBLIC / file)
