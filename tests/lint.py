"""`python -m tests.lint`: no file of ours passes 400 lines."""

from __future__ import annotations

import sys
from pathlib import Path

LIMIT = 400
FOLDERS = ("gatekit", "tests", "examples", "docs")
ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """The exit status; each file that is too long is printed with its length."""
    too_long = [
        f"{path.relative_to(ROOT)}: {length} lines, at most {LIMIT} are allowed"
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (length := len(path.read_text(encoding="utf-8").splitlines())) > LIMIT
    ]
    sys.stdout.writelines(f"{line}\n" for line in too_long)
    return int(bool(too_long))


if __name__ == "__main__":
    sys.exit(main())
