"""`gatekit keys` in a shell: what it prints where, and how it ends."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gatekit.cli import main
from gatekit.keys import KeyManager, KeyRecord, SQLKeys
from gatekit.middleware.auth.api_key import ApiKeyAuth
from gatekit.testing import exercise
from tests.servers import ROOT

SECRET = "a secret of thirty-two bytes ..."


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    url = f"sqlite:///{tmp_path}/keys.db"
    monkeypatch.setenv("GATEKIT_KEYS", url)
    monkeypatch.setenv("GATEKIT_KEYS_SECRET", SECRET)
    return url


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    status = main(["keys", *words])
    out, err = capsys.readouterr()
    return status, out, err


def test_a_key_that_was_made_opens(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The key is alone on standard output, and an app with the same store and secret takes it."""
    status, out, err = run(
        capsys, "create", "acme", "--scope", "a", "--scope", "b", "--plan", "pro",
        "--expires-in", "90d", "--name", "ci", "--role", "r", "--group", "g", "--tenant", "t",
    )  # fmt: skip
    assert status == 0
    assert re.fullmatch(r"gk_\w+\n", out)
    assert out.strip() not in err
    keys = KeyManager(url, secret=SECRET.encode())
    auth = ApiKeyAuth(keys, track_use=False)
    identity = exercise(auth, headers={"x-api-key": out.strip()}).request.identity
    assert identity is not None
    assert (identity.subject, identity.plan, identity.tenant) == ("acme", "pro", "t")
    sets = (identity.scopes, identity.roles, identity.groups)
    assert list(map(sorted, sets)) == [["a", "b"], ["r"], ["g"]]
    [record] = keys.list()
    assert record.expires_at == pytest.approx(record.created_at + 90 * 86400, abs=1)
    auth.close()


def test_the_whole_life_of_a_key(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Rotated, revoked and listed, in JSON and for people; no list shows a key or a hash."""
    made = json.loads(run(capsys, "create", "acme", "--json")[1])
    status, out, err = run(capsys, "rotate", made["id"], "--overlap", "0s")
    assert (status, re.fullmatch(r"gk_\w+\n", out) is not None) == (0, True)
    assert f"the old key {made['id']} ends 20" in err
    listed = json.loads(run(capsys, "list", "--json")[1])
    assert {one["state"] for one in listed} == {"expired", "active"}
    [new] = [one["id"] for one in listed if one["state"] == "active"]
    status, out, err = run(capsys, "revoke", new)
    assert (status, out, err) == (0, "", f"revoked {new} of acme\n")
    status, out, _ = run(capsys, "list", "--subject", "acme")
    assert [line.split()[0] for line in out.splitlines()] == ["id", *sorted([made["id"], new])]
    assert "revoked" in out
    assert made["key"] not in out + json.dumps(listed)
    assert "digest" not in json.dumps(listed)
    assert json.loads(run(capsys, "revoke", new, "--json")[1])["state"] == "revoked"


@pytest.mark.parametrize("verb", ["rotate", "revoke"])
def test_no_such_key(url: str, capsys: pytest.CaptureFixture[str], verb: str) -> None:
    """Status 1, and nothing on standard output."""
    status, out, err = run(capsys, verb, "zzzz")
    assert (status, out) == (1, "")
    assert "there is no key 'zzzz'" in err


@pytest.mark.parametrize(
    "words",
    [["create"], ["create", "acme", "--expires-in", "soon"], ["nonsense"], []],
)
def test_arguments_that_make_no_sense(url: str, words: list[str]) -> None:
    """Status 2 before anything is done."""
    with pytest.raises(SystemExit) as raised:
        main(["keys", *words])
    assert raised.value.code == 2


def test_what_is_missing_is_named(
    url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a store, or without a secret for what makes a key: status 2."""
    assert run(capsys, "create", "acme", "--scope", "a b")[0] == 2
    monkeypatch.setenv("GATEKIT_KEYS_SECRET", "short")
    status, _, err = run(capsys, "create", "acme")
    assert (status, "at least 16 bytes" in err, "short" in err) == (2, True, False)
    monkeypatch.delenv("GATEKIT_KEYS_SECRET")
    assert run(capsys, "create", "acme")[0] == 2
    assert run(capsys, "list")[0] == 0  # makes no hash, so it needs none
    assert run(capsys, "list", "--store", "memory://")[0] == 2
    assert run(capsys, "list", "--secret-file", "/no/such/file")[0] == 2
    monkeypatch.delenv("GATEKIT_KEYS")
    status, _, err = run(capsys, "list")
    assert (status, "$GATEKIT_KEYS" in err) == (2, True)


def test_a_secret_in_a_file(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The line's end is not part of it."""
    path = tmp_path / "secret"
    path.write_text(f"{SECRET}\n")
    out = run(capsys, "create", "acme", "--secret-file", str(path), "--prefix", "shop")[1]
    keys = KeyManager(url, secret=SECRET.encode(), prefix="shop")
    assert keys.format.is_genuine(out.strip().encode())
    keys.close()


def test_the_store_is_away(capsys: pytest.CaptureFixture[str]) -> None:
    """Status 3, and no password in what it says."""
    url = "redis://me:hush@127.0.0.1:1/0"
    status, out, err = run(capsys, "list", "--store", url)
    assert (status, out) == (3, "")
    assert "does not answer" in err
    assert "hush" not in err


def test_it_is_a_command(url: str) -> None:
    """`python -m gatekit` runs it, and hands its status on."""
    done = subprocess.run(
        [sys.executable, "-m", "gatekit", "keys", "revoke", "zzzz"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "there is no key" in done.stderr


def test_a_life_beyond_all_calendars_is_refused(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing could show when such a key ends, and one that cannot be shown spoils the list."""
    status, out, err = run(capsys, "create", "acme", "--expires-in", "999999999999999w")
    assert (status, out) == (2, "")
    assert "expires_in" in err


def test_an_end_that_somebody_else_wrote_is_shown_all_the_same(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One such key must not keep the others from being listed."""
    store = SQLKeys(url)
    store.add(KeyRecord(id="a", digest="00", subject="acme", expires_at=1e300))
    store.close()
    status, out, _ = run(capsys, "list")
    assert (status, "acme" in out) == (0, True)
