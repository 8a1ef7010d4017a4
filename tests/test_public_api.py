"""The public face: what `gatekit` exports, and what importing it costs."""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import gatekit
from tests.benchmarks.topics.importtime import HEAVY
from tests.servers import ROOT

NAMES = sorted({*getattr(gatekit, "__all__", ())} - {"__version__"})
PUBLIC = ("gatekit", "gatekit.typing", "gatekit.testing", "gatekit.errors")


def test_all_is_sorted_and_complete() -> None:
    """`__all__` holds every name that has a home, in ruff's order, and type checkers see the same.

    That is: what is written in capitals only, then classes, then functions, each by name.
    """
    order = sorted(gatekit.__all__, key=lambda name: (not name.isupper(), name.islower(), name))
    assert list(gatekit.__all__) == order
    assert set(gatekit.__all__) == set(gatekit._HOMES)
    source = (ROOT / "gatekit" / "__init__.py").read_text()
    for name, home in gatekit._HOMES.items():
        line = rf"from gatekit\.{re.escape(home)} import ([^\n(]+|\([^)]+\))"
        [imported] = re.findall(line, source)
        assert re.search(rf"\b{name}\b", imported), f"{name} is not imported for type checkers"


def test_unknown_name_is_an_attribute_error() -> None:
    """A misspelt name fails as in any module."""
    with pytest.raises(AttributeError, match="BearerAut"):
        gatekit.BearerAut  # noqa: B018


def test_star_import_gives_every_name() -> None:
    """`from gatekit import *` works, and gives what `__all__` says."""
    space: dict[str, object] = {}
    exec("from gatekit import *", space)
    assert set(gatekit.__all__) <= set(space)


@pytest.mark.parametrize("name", NAMES)
def test_public_name_is_documented(name: str) -> None:
    """Every public class and function has a docstring of its own, which is not an inherited one."""
    value = getattr(gatekit, name)
    if callable(value):
        doc = vars(value).get("__doc__") if isinstance(value, type) else value.__doc__
        assert doc, f"gatekit.{name} has no docstring"
        assert len(doc.split()) > 3


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_exists(name: str) -> None:
    """Each name in `__all__` of a public module can be had from it."""
    module = importlib.import_module(name)
    assert [each for each in getattr(module, "__all__", ()) if not hasattr(module, each)] == []


@pytest.mark.parametrize(
    "name", [module.name for module in pkgutil.walk_packages(gatekit.__path__, "gatekit.")]
)
def test_module_says_what_it_is(name: str) -> None:
    """Every module can be imported with the extras at hand, and begins with a docstring."""
    assert importlib.import_module(name).__doc__


@pytest.mark.parametrize("heavy", HEAVY)
def test_import_loads_no_heavy_third_party(heavy: str) -> None:
    """`import gatekit` leaves alone what only one feature needs."""
    assert heavy not in loaded_modules()


def test_import_starts_nothing() -> None:
    """Importing gatekit opens no socket, starts no thread and makes no event loop."""
    script = """
import asyncio, socket, threading
def refuse(*args, **kwargs):
    raise AssertionError("not at import")
socket.socket.__init__ = asyncio.new_event_loop = threading.Thread.start = refuse
import gatekit
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=ROOT, check=True)


def test_package_is_typed() -> None:
    """`py.typed` lies beside the package (PEP 561)."""
    assert (Path(gatekit.__path__[0]) / "py.typed").is_file()


def test_version_is_a_release() -> None:
    """The version is three numbers."""
    assert [part.isdigit() for part in gatekit.__version__.split(".")] == [True] * 3


@cache
def loaded_modules() -> frozenset[str]:
    """What a fresh interpreter has in `sys.modules` after `import gatekit`."""
    script = "import gatekit, json, sys; print(json.dumps(list(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return frozenset(json.loads(done.stdout))
