"""What ``trimtab serve`` refuses before it loads a model."""

import pytest

from trimtab import cli

NOWHERE = "postgresql://trimtab@/none?host=/nowhere"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "expected a key in the store"),
        (["--settings", "/no/such.toml"], "/no/such.toml"),
        (["--replicas", "2"], "replicas share a PostgreSQL store, got"),
        (["--replicas", "2", "--store", NOWHERE, "--demo"], "--demo and --device-map are for one"),
        (["--replicas", "2", "--store", NOWHERE, "--port", "0"], "give --port"),
        (["--replicas", "2", "--store", NOWHERE], "check that the server runs, and the URL"),
    ],
)
@pytest.mark.usefixtures("trimtab_home")
def test_what_cannot_be_served_is_refused_in_one_line(arguments, said, capsys) -> None:
    assert cli.execute(["serve", *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1
    assert said in err
