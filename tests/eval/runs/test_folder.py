"""Run folders: nothing lost, nothing torn, no two configurations in one."""

import dataclasses
import json
import platform
from datetime import UTC, datetime, timedelta
from importlib.metadata import version

import pytest

from trimtab.errors import TrimtabError
from trimtab.eval.runs.folder import run_folder
from trimtab.eval.runs.record import read_run
from trimtab.steering import SteeringSettings

CONFIGURATION = {"seed": 0, "methods": ("a", "b"), "settings": {"k": 5, "strength": 1.0}}


def test_records_are_there_when_the_folder_is_opened_again(tmp_path):
    with run_folder(tmp_path / "run", CONFIGURATION) as folder:
        assert folder.records == []
        folder.append({"task": "t1", "text": "two\u2028lines \ud800"})
        folder.append({"task": "t2"})
    with run_folder(tmp_path / "run", CONFIGURATION) as folder:
        assert [record["task"] for record in folder.records] == ["t1", "t2"]
        assert folder.records[0]["text"] == "two\u2028lines \ud800"


def test_a_torn_last_line_is_cut_off_and_nothing_else(tmp_path):
    with run_folder(tmp_path, CONFIGURATION) as folder:
        folder.append({"task": "t1"})
        folder.append({"task": "t2"})
    results = tmp_path / "results.jsonl"
    results.write_bytes(results.read_bytes()[:-4])
    with run_folder(tmp_path, CONFIGURATION) as folder:
        assert folder.records == [{"task": "t1"}]
        folder.append({"task": "t3"})
    lines = results.read_text().splitlines()
    assert [json.loads(line)["task"] for line in lines] == ["t1", "t3"]


def test_another_configuration_is_refused_and_the_difference_named(tmp_path):
    with run_folder(tmp_path, CONFIGURATION) as folder:
        folder.append({"task": "t1"})
    changed = {**CONFIGURATION, "settings": {"k": 3, "strength": 1.0}}
    with (
        pytest.raises(TrimtabError, match=r"settings\.k: was 5, now 3\)"),
        run_folder(tmp_path, changed),
    ):
        pass


def test_a_run_that_has_kept_nothing_leaves_its_place_to_another(tmp_path):
    for seed in (0, 1):
        with run_folder(tmp_path, {**CONFIGURATION, "seed": seed}) as folder:
            assert folder.records == []
    assert json.loads((tmp_path / "run.json").read_text())["seed"] == 1


def test_what_else_a_run_keeps_in_its_folder_counts_as_begun(tmp_path):
    with run_folder(tmp_path, CONFIGURATION):
        (tmp_path / "episode.sqlite").touch()
    with (
        pytest.raises(TrimtabError, match="another configuration"),
        run_folder(tmp_path, {**CONFIGURATION, "seed": 1}),
    ):
        pass


def test_a_run_begun_before_a_setting_was_there_is_resumed(tmp_path):
    """It was made as the setting's default makes it, and as nothing else does."""
    now = dataclasses.asdict(SteeringSettings())
    before = {name: value for name, value in now.items() if name != "half_life"}
    with run_folder(tmp_path / "run", {"methods": [{"settings": before}]}) as results:
        results.append({"sample_id": "1"})
    with run_folder(tmp_path / "run", {"methods": [{"settings": now}]}) as results:
        assert len(results.records) == 1
    faded = {**now, "half_life": 4.0}
    with (
        pytest.raises(TrimtabError, match="another configuration"),
        run_folder(tmp_path / "run", {"methods": [{"settings": faded}]}),
    ):
        pass


def test_many_differences_are_cut(tmp_path):
    with run_folder(tmp_path, {str(n): n for n in range(9)}) as folder:
        folder.append({"task": "t1"})
    with (
        pytest.raises(TrimtabError, match=r"2: was 2, now 3; 6 more\)"),
        run_folder(tmp_path, {str(n): n + 1 for n in range(9)}),
    ):
        pass


def test_two_processes_cannot_write_to_one_folder(tmp_path):
    with (
        run_folder(tmp_path, CONFIGURATION),
        pytest.raises(TrimtabError, match="another process"),
        run_folder(tmp_path, CONFIGURATION),
    ):
        pass


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(TrimtabError, match=r"thesis\.txt"), run_folder(tmp_path, CONFIGURATION):
        pass
    assert [item.name for item in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(TrimtabError, match="cannot use"), run_folder(tmp_path / "run", {}):
        pass


def test_a_broken_line_is_named(tmp_path):
    with run_folder(tmp_path, CONFIGURATION) as folder:
        folder.append({"task": "t1"})
    (tmp_path / "results.jsonl").write_text('{"task": "t1"}\nnonsense\n')
    with pytest.raises(TrimtabError, match="line 2"), run_folder(tmp_path, CONFIGURATION):
        pass


def test_the_summary_is_written_whole(tmp_path):
    with run_folder(tmp_path, CONFIGURATION) as folder:
        folder.write_summary({"mean": 0.5})
    assert json.loads((tmp_path / "summary.json").read_text()) == {"mean": 0.5}
    assert not list(tmp_path.glob("*.tmp"))


def test_what_a_killed_write_left_behind_does_not_close_the_folder(tmp_path):
    for name in (".run.json.k2_x9ab1.tmp", ".summary.json.0f0f.tmp"):
        (tmp_path / name).write_text("{")
    with run_folder(tmp_path, CONFIGURATION) as folder:
        folder.append({"task": "t1"})
    assert not list(tmp_path.glob(".*.tmp"))
    (tmp_path / ".run.json.half.tmp").write_text("{")
    with run_folder(tmp_path, CONFIGURATION) as folder:
        assert folder.records == [{"task": "t1"}]
    assert not list(tmp_path.glob(".*.tmp"))


def test_a_half_written_file_does_not_count_as_begun(tmp_path):
    with run_folder(tmp_path, CONFIGURATION):
        pass
    (tmp_path / ".results.jsonl.half.tmp").write_text("{")
    with run_folder(tmp_path, {**CONFIGURATION, "seed": 7}) as folder:
        assert folder.records == []


def test_a_run_says_what_made_it(tmp_path):
    with run_folder(tmp_path, CONFIGURATION):
        pass
    made = json.loads((tmp_path / "run.json").read_text())["provenance"]
    assert made["versions"] == {
        **{name: version(name) for name in ("trimtab", "torch", "transformers")},
        "python": platform.python_version(),
    }
    assert abs(datetime.now(UTC) - datetime.fromisoformat(made["date"])) < timedelta(minutes=5)
    assert made["processor"] and made["system"]


def test_another_version_resumes_a_run_and_leaves_what_made_it(tmp_path):
    with run_folder(tmp_path, CONFIGURATION) as folder:
        folder.append({"task": "t1"})
    path = tmp_path / "run.json"
    plain = json.loads(path.read_text())
    plain["provenance"] = {"date": "2020-01-01T00:00:00+00:00", "versions": {"torch": "1.0"}}
    path.write_text(json.dumps(plain))
    for configuration in (CONFIGURATION, plain):  # as asked for, and as it was read
        with run_folder(tmp_path, configuration) as folder:
            assert folder.records == [{"task": "t1"}]
    assert json.loads(path.read_text()) == plain


@pytest.mark.parametrize(
    ("earlier", "today"),
    [
        ({"study": "headlines", "seed": 0}, {"task": "headlines", "seed": 0}),
        ({"study": "tune", "task": "headlines"}, {"command": "tune", "task": "headlines"}),
    ],
)
def test_a_run_of_an_earlier_release_is_resumed(tmp_path, earlier, today):
    (tmp_path / "run.json").write_text(json.dumps(earlier))
    (tmp_path / "results.jsonl").write_text('{"task": "t1"}\n')
    with run_folder(tmp_path, today) as folder:
        assert folder.records == [{"task": "t1"}]
    assert read_run_configuration(tmp_path) == today


def read_run_configuration(folder):
    (folder / "results.jsonl").unlink()
    return read_run(folder).configuration
