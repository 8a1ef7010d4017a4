"""The command `gatekit`, also `python -m gatekit`.

    $ gatekit keys create acme --scope orders.read --plan pro --expires-in 90d
    $ gatekit keys --help

Each word after `gatekit` is a module of its own that adds its arguments and runs them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from gatekit.keys import command as keys_command


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, or what the command says; 2 for arguments that make no sense."""
    parser = argparse.ArgumentParser(prog="gatekit", description="API gateway middlewares.")
    commands = parser.add_subparsers(metavar="command", required=True)
    keys_command.add_arguments(commands.add_parser("keys", help="make and end API keys"))
    options = parser.parse_args(arguments)
    status: int = options.run(options, sys.stdout, sys.stderr)
    return status
