"""`trimtab keys` and what `trimtab serve` refuses."""

from trimtab.cli import execute
from trimtab.serve.access import Authenticator
from trimtab.steering.store.steering_store import SteeringStore


def test_keys_are_made_listed_and_revoked(tmp_path, capsys) -> None:
    store = str(tmp_path / "users.db")
    made = ["keys", "make", "--store", store, "--label", "shop", "--users", "prefix:shop-"]
    assert execute([*made, "--right", "learn", "--right", "chat"]) == 0
    token = capsys.readouterr().out.strip()
    with SteeringStore(store) as opened:
        key = Authenticator(opened, loopback=False).key(token)
    assert str(key.users) == "prefix:shop-"
    assert key.rights == {"chat", "learn"}
    assert execute(["keys", "list", "--store", store]) == 0
    listed = capsys.readouterr().out
    assert key.id in listed and "prefix:shop-  chat,learn  shop" in listed
    assert token not in listed
    assert execute(["keys", "revoke", key.id, "--store", store]) == 0
    assert execute(["keys", "revoke", key.id, "--store", store]) == 2
    capsys.readouterr()
    assert execute(["keys", "list", "--store", store]) == 0
    assert capsys.readouterr().out == ""


def test_what_cannot_be_made_is_refused(tmp_path, capsys) -> None:
    store = str(tmp_path / "users.db")
    assert execute(["keys", "make", "--store", store, "--right", "fly"]) == 2
    assert execute(["keys", "make", "--store", store, "--users", "some"]) == 2
    assert "expected users all" in capsys.readouterr().err


def test_other_machines_are_not_listened_to_without_keys(tmp_path, capsys) -> None:
    store = str(tmp_path / "users.db")
    assert execute(["serve", "--store", store, "--host", "0.0.0.0", "--model", "none"]) == 2
    assert "trimtab keys make" in capsys.readouterr().err
