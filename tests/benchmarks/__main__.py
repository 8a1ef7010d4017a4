"""`python -m tests.benchmarks`: one table, and the same figures as JSON."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
import traceback
from pathlib import Path

from tests.benchmarks import harness, machine
from tests.benchmarks.report import Line, table, write_json


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 1 when a topic failed, or with `--strict` when a budget was missed."""
    options = parse(arguments)
    if options.list:
        for name in harness.names():
            print(f"{name:12} {harness.title(name)}")
        return 0
    bench = harness.Bench(quick=options.quick)
    hardware = machine.describe()
    lines: list[Line] = []
    failed = False
    for name in options.only or harness.names():
        bench.progress(f"{name}: {harness.title(name)}")
        started = time.monotonic()
        try:
            measured = harness.load(name).measure(bench)
            lines.extend(dataclasses.replace(line, topic=name) for line in measured)
        except Exception as error:
            failed = True
            traceback.print_exc()
            lines.append(Line(f"failed: {type(error).__name__}", topic=name))
        bench.progress(f"{name}: {time.monotonic() - started:.0f} s")
    print(hardware)
    print(table(lines))
    write_json(options.json, hardware, lines)
    missed = any(line.met is False for line in lines)
    return int(failed or (options.strict and missed))


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=harness.names())
    parser.add_argument("--quick", action="store_true", help="fewer rounds, shorter loads")
    parser.add_argument("--strict", action="store_true", help="fail when a budget is missed")
    parser.add_argument("--list", action="store_true", help="print the topics")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), metavar="PATH")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
