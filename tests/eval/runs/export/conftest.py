"""A run with texts that files have trouble with."""

from dataclasses import replace

import pytest

from trimtab.eval.runs.record import read_run

ODD = '=1+1, "quoted"\r\nnew line \ud83d half \x00 nul \u2028 \u202e ünï 🌊'


@pytest.fixture
def odd_run(text_run):
    """The made run, its first answer odd and its second failed."""
    records = list(read_run(text_run(folder="plain")).records)
    records[0] = replace(records[0], output=ODD, detail={"note": ODD}, kind="odd")
    records[1] = replace(records[1], error=f"fire {ODD}", scores={}, output="")
    return read_run(text_run(records, folder="odd"))
