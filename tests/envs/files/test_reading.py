"""Files of records as they come: any encoding and line ending, Python's words, broken lines."""

import gzip
import json

import pytest

from trimtab.envs.files import reading
from trimtab.envs.files.reading import read_records
from trimtab.errors import TrimtabError

RECORDS = [{"user": "ann", "text": "a\u2028b\x85c \u2029 é"}, {"user": "bob", "text": "\U0001f600"}]
TEXT = "\n".join(json.dumps(record, ensure_ascii=False) for record in RECORDS) + "\n"


def read(tmp_path, content, name="mine.jsonl"):
    path = tmp_path / name
    path.write_bytes(content)
    return list(read_records(path))


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-be").join([b"\xfe\xff", b""]),
        gzip.compress(TEXT.encode("utf-16"), mtime=0),
        ("\n\n" + TEXT).encode(),
    ],
)
def test_json_lines_in_any_dress(tmp_path, content):
    assert [line.record for line in read(tmp_path, content)] == RECORDS


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_csv_in_any_dress(tmp_path, separator, encoding):
    rows = [["user", "text"], ["ann", f'"say ""hi""{separator}\r\nthen\u2028go"']]
    content = "\r\n".join(separator.join(row) for row in rows).encode(encoding)
    [line] = read(tmp_path, content, "mine.csv")
    assert line.record == {"user": "ann", "text": f'say "hi"{separator}\r\nthen\u2028go'}


def test_objects_as_python_writes_them(tmp_path):
    lines = [
        "{'asin': '0001', 'title': \"Dad's mug\", 'categories': [['Home', 'Mugs']], 'price': 5.5}",
        "{'asin': '0002', 'sold': True, 'related': None}",
        "{'asin': __import__('os').getcwd()}",
    ]
    first, second, code = read(tmp_path, "\n".join(lines).encode())
    assert first.record["title"] == "Dad's mug"
    assert second.record == {"asin": "0002", "sold": True, "related": None}
    assert code.record is None
    assert "expected a JSON object" in code.fault


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_line_too_long_is_told_and_the_next_one_read(tmp_path, monkeypatch, encoding):
    monkeypatch.setattr(reading, "_LONGEST_LINE", 1000)
    for size in (999, 2_000, 50_000):
        content = json.dumps({"a": "x" * size}) + '\n{"a": "next"}\n'
        long, following = read(tmp_path, content.encode(encoding))
        assert long.record is None
        assert long.fault.startswith('expected a line of at most 1,000 bytes, got \'{"a": "xxx')
        assert len(long.fault) < 120
        assert (following.number, following.record) == (2, {"a": "next"})


def test_a_first_line_that_names_no_columns_is_refused(tmp_path):
    path = tmp_path / "long.csv"
    path.write_text("x" * 200_000, encoding="utf-8")
    with pytest.raises(TrimtabError, match="whose first line names its columns"):
        list(reading.read_records(path))


def test_a_line_of_some_megabytes_is_read_or_told(tmp_path, monkeypatch):
    long = json.dumps({"a": list(range(400_000))}).encode()
    parsed = []
    monkeypatch.setattr(reading.ast, "literal_eval", lambda text: parsed.append(len(text)))
    whole, cut, after = read(tmp_path, b"\n".join([long, long[:-9], b'{"a": 1}']))
    assert len(whole.record["a"]) == 400_000
    assert cut.record is None
    assert len(cut.fault) < 150
    assert after.record == {"a": 1}
    assert not parsed  # the syntax tree of such a line would take gigabytes


def test_odd_numbers_repeated_keys_and_half_a_surrogate_pair(tmp_path):
    content = (
        b'{"a": NaN, "b": -Infinity}\n{"a": 1, "a": 2}\n'
        b'{"a": 123456789012345678901234567890}\n{"a": "\\ud83d!"}\n'
    )
    odd, twice, big, half = [line.record for line in read(tmp_path, content)]
    assert odd["a"] != odd["a"]
    assert odd["b"] == float("-inf")
    assert twice == {"a": 2}
    assert big == {"a": 123456789012345678901234567890}
    assert half == {"a": "?!"}


def test_a_list_is_told(tmp_path):
    with pytest.raises(TrimtabError, match="one JSON object a line"):
        read(tmp_path, b'[{"a": 1}]')
