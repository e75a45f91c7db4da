"""Files are written whole or not at all, with the permissions that any new file has."""

import os
import stat

import pytest

from trimtab.files import is_temporary, replacing, without_formula


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask():
    """Set the umask, and put the old one back."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize(("mask", "expected"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_a_new_file_has_the_permissions_that_the_umask_leaves(tmp_path, umask, mask, expected):
    umask(mask)
    path = tmp_path / "run.json"
    with replacing(path) as temporary:
        temporary.write_text("{}")
    assert mode(path) == expected


def test_a_file_that_is_replaced_keeps_its_own_permissions(tmp_path, umask):
    umask(0o022)
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o600)
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert (path.read_text(), mode(path)) == ("new", 0o600)


def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "run.json"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half of the n")
        assert is_temporary(temporary, ["run.json"])
        raise RuntimeError
    assert [item.name for item in tmp_path.iterdir()] == ["run.json"]
    assert path.read_text() == "old"


def test_only_our_own_half_written_files_are_temporary(tmp_path):
    for name in ("run.json", ".lock", "notes.tmp", ".other.json.abc.tmp"):
        assert not is_temporary(tmp_path / name, ["run.json"])


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1 was great", "'+1 was great"),
        ("- a list", "'- a list"),
        ("@home", "'@home"),
        ("\t=1", "'\t=1"),
        ("-0.5", "-0.5"),
        (-0.5, -0.5),
        (None, None),
        ("", ""),
        ("a = b", "a = b"),
    ],
)
def test_a_cell_is_no_formula(cell, written):
    assert without_formula(cell) == written
