"""CSV and Parquet: read back, the tables say what the records do."""

import csv
import json

import pyarrow.parquet as pq
import pytest

from trimtab.eval.runs.export import export_run, table_rows
from trimtab.eval.runs.record import Record, read_run
from trimtab.files import encodable, without_formula


def read_csv(path):
    csv.field_size_limit(10**7)
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_parquet(path):
    return pq.read_table(path).to_pylist()


@pytest.mark.parametrize(("to", "read"), [("csv", read_csv), ("parquet", read_parquet)])
def test_every_record_is_a_row(odd_run, to, read):
    [path] = export_run(odd_run, to)
    assert path == odd_run.path / f"records.{to}"
    rows = read(path)
    assert len(rows) == len(odd_run.records) == 200
    for row, record in zip(rows, odd_run.records, strict=True):
        assert (row["method"], row["sample_id"]) == (record.method, record.sample_id)
        written = encodable(record.output)
        assert row["output"] == (without_formula(written) if to == "csv" else written)
        assert int(row["history"]) == record.history
        assert json.loads(row["picked"]) == record.picked
        score = record.scores.get("rouge-1")
        assert row["score_rouge-1"] in (None, "") if score is None else (
            float(row["score_rouge-1"]) == score
        )  # fmt: skip
    assert "\ufffd half" in rows[0]["output"] and "🌊" in rows[0]["output"]
    assert rows[1]["error"].startswith("fire")


def test_parquet_has_types_even_where_a_column_is_empty(odd_run, text_run):
    [path] = export_run(odd_run, "parquet")
    types = {field.name: str(field.type) for field in pq.read_schema(path)}
    assert types["score_log-likelihood"] == "double"
    assert types["seconds"] == "double"
    assert types["history"] == "int64"
    assert types["error"] == "string"


def test_only_the_methods_asked_for(odd_run, tmp_path):
    [path] = export_run(odd_run, "csv", tmp_path / "some.csv", methods=["rag", "fints"])
    assert {row["method"] for row in read_csv(path)} == {"rag", "fints"}
    assert len(table_rows(odd_run, odd_run.of["rag"].values())) == 40


def test_no_cell_of_a_csv_file_is_a_formula(text_run):
    formula = '=HYPERLINK("https://evil.example","free shoes")'
    record = Record("m", "-1", "@ann", output=formula, gold="+1", scores={"rouge-1": -0.5})
    run = read_run(text_run([record]))
    [row] = read_csv(export_run(run, "csv")[0])
    assert (row["output"], row["user_id"]) == (f"'{formula}", "'@ann")
    assert (row["sample_id"], row["gold"], row["score_rouge-1"]) == ("-1", "+1", "-0.5")
    [row] = read_parquet(export_run(run, "parquet")[0])
    assert (row["output"], row["user_id"]) == (formula, "@ann")
