"""`gatekit keys create|list|rotate|revoke`: API keys in a shell.

    $ export GATEKIT_KEYS=sqlite:///keys.db GATEKIT_KEYS_SECRET=…
    $ gatekit keys create acme --scope orders.read --expires-in 90d > acme.key
    $ gatekit keys list --json
    $ gatekit keys rotate 6fZ0mQ2yJtWkA3bX --overlap 7d
    $ gatekit keys revoke 6fZ0mQ2yJtWkA3bX

Standard output gets the key, alone on its line, this once; what else there is to say goes to
standard error. With `--json` it is one document instead. The secret that hashes are keyed with is
never an argument, which other users of the host could read: it is in the environment or in a file.

Exit status: 0; 1 if there is no such key, or nothing to rotate; 2 for arguments that make no sense;
3 if the store does not answer.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from gatekit.errors import ConfigurationError
from gatekit.keys.manager import KeyManager, KeyOver, NewKey, NoSuchKey
from gatekit.keys.record import KeyRecord

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PAGE = 500
# Listing and revoking make no hash. Revoking must work for who has not got the secret at hand.
_NO_SECRET = bytes(16)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(metavar="verb", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--store", help="URL of the store; default: $GATEKIT_KEYS")
    shared.add_argument(
        "--secret-file", type=Path, help="file with the secret; default: $GATEKIT_KEYS_SECRET"
    )
    shared.add_argument("--prefix", help="what keys begin with; default: $GATEKIT_KEYS_PREFIX, gk")
    shared.add_argument("--json", action="store_true", help="print JSON")

    create = verbs.add_parser("create", parents=[shared], help="make a key")
    create.add_argument("subject", help="whom the key stands for")
    create.add_argument("--name", default="", help="what it is for, for people")
    for option in ("scope", "role", "group"):
        create.add_argument(f"--{option}", action="append", default=[], help="may be repeated")
    create.add_argument("--tenant")
    create.add_argument("--plan")
    create.add_argument("--expires-in", type=duration, metavar="90d", help="s, m, h, d or w")
    create.set_defaults(run=_run, verb=_create)

    listed = verbs.add_parser("list", parents=[shared], help="show the keys")
    listed.add_argument("--subject", help="only those of this one")
    listed.set_defaults(run=_run, verb=_list)

    rotate = verbs.add_parser("rotate", parents=[shared], help="replace a key by a new one")
    rotate.add_argument("id")
    rotate.add_argument(
        "--overlap",
        type=duration,
        default=86400.0,
        metavar="1d",
        help="how long the old one stays good; 0s ends it now",
    )
    rotate.add_argument("--expires-in", type=duration, metavar="90d")
    rotate.set_defaults(run=_run, verb=_rotate)

    revoke = verbs.add_parser("revoke", parents=[shared], help="end a key now")
    revoke.add_argument("id")
    revoke.set_defaults(run=_run, verb=_revoke)


def duration(text: str) -> float:
    """Seconds, of a number and its unit."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 90d, 12h or 30m")
    return float(match[1]) * _UNITS[match[2]]


def _run(options: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    try:
        keys = _manager(options)
    except (ConfigurationError, _Missing) as error:
        return _say(err, str(error), 2)
    try:
        return int(options.verb(keys, options, out, err))
    except (NoSuchKey, KeyOver) as error:
        return _say(err, str(error), 1)
    except ConfigurationError as error:
        return _say(err, str(error), 2)
    except Exception as error:
        # A driver's message may hold a password.
        return _say(err, f"{keys.store!r} does not answer: {type(error).__name__}", 3)
    finally:
        keys.close()


def _create(keys: KeyManager, options: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    made = keys.create(
        options.subject,
        name=options.name,
        scopes=options.scope,
        roles=options.role,
        groups=options.group,
        tenant=options.tenant,
        plan=options.plan,
        expires_in=options.expires_in,
    )
    return _show_new(keys, made, options, out, err)


def _rotate(keys: KeyManager, options: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    made = keys.rotate(options.id, overlap=options.overlap, expires_in=options.expires_in)
    status = _show_new(keys, made, options, out, err)
    old = keys.get(options.id)
    if not options.json:
        err.write(f"the old key {old.id} ends {_moment(old.expires_at)}\n")
    return status


def _revoke(keys: KeyManager, options: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    record = keys.revoke(options.id)
    if options.json:
        _print_json(record.shown(keys.now()), out)
    else:
        err.write(f"revoked {record.id} of {record.subject}\n")
    return 0


def _list(keys: KeyManager, options: argparse.Namespace, out: TextIO, _: TextIO) -> int:
    found: list[KeyRecord] = []
    after = ""
    while page := keys.list(subject=options.subject, after=after, limit=_PAGE):
        found += page
        after = page[-1].id
    now = keys.now()
    if options.json:
        _print_json([record.shown(now) for record in found], out)
    else:
        out.writelines(f"{line}\n" for line in _table(found, now))
    return 0


def _show_new(
    keys: KeyManager, made: NewKey, options: argparse.Namespace, out: TextIO, err: TextIO
) -> int:
    if options.json:
        _print_json({"key": made.text, **made.record.shown(keys.now())}, out)
    else:
        out.write(f"{made.text}\n")
        ends = _moment(made.record.expires_at)
        err.write(f"the key {made.record.id} of {made.record.subject} ends {ends}\n")
        err.write("it is shown this once\n")
    return 0


def _table(records: Sequence[KeyRecord], now: float) -> list[str]:
    head = ("id", "subject", "name", "state", "scopes", "roles", "plan", "ends", "last used")
    rows: list[tuple[str, ...]] = [head]
    rows += (
        (
            record.id,
            record.subject,
            record.name,
            record.state(now),
            " ".join(sorted(record.scopes)),
            " ".join(sorted(record.roles)),
            record.plan or "",
            _moment(record.expires_at),
            _moment(record.last_used_at),
        )
        for record in records
    )
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _moment(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, OSError, ValueError):
        return f"@{seconds:.0f}"  # beyond the year 9999


class _Missing(Exception):
    pass


def _manager(options: argparse.Namespace) -> KeyManager:
    store: str | None = options.store or os.environ.get("GATEKIT_KEYS")
    if not store:
        raise _Missing("say which store: --store, or $GATEKIT_KEYS")
    if store.startswith("memory:"):
        raise _Missing("a store in memory is gone with this command")
    secret = _secret(options)
    if secret is None:
        if options.verb in (_create, _rotate):
            raise _Missing("say where the secret is: --secret-file, or $GATEKIT_KEYS_SECRET")
        secret = _NO_SECRET
    prefix: str = options.prefix or os.environ.get("GATEKIT_KEYS_PREFIX") or "gk"
    return KeyManager(store, secret=secret, prefix=prefix)


def _secret(options: argparse.Namespace) -> bytes | None:
    if options.secret_file is not None:
        path: Path = options.secret_file
        try:
            return path.read_bytes().strip()
        except OSError as error:
            raise _Missing(f"{path}: {error.strerror}") from None
    found = os.environ.get("GATEKIT_KEYS_SECRET")
    return found.encode() if found else None


def _print_json(document: object, out: TextIO) -> None:
    out.write(f"{json.dumps(document, ensure_ascii=False, indent=2)}\n")


def _say(err: TextIO, text: str, status: int) -> int:
    err.write(f"gatekit keys: {text}\n")
    return status
