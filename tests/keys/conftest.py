"""The `store` fixture: a test that takes it runs with every store that a key may lie in."""

from __future__ import annotations

import importlib.util
from collections.abc import Generator
from pathlib import Path

import pytest

from gatekit.keys import KeyStore, MemoryKeys, RedisKeys, SQLKeys
from tests import postgres_server, redis_server


@pytest.fixture(scope="session")
def redis_url() -> Generator[str]:
    if redis_server.executable() is None:
        pytest.skip("there is no Redis")
    with redis_server.redis_server() as server:
        yield server.url


@pytest.fixture(scope="session")
def postgres_url() -> Generator[str]:
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("there is no psycopg")
    if (why := postgres_server.missing()) is not None:
        pytest.skip(why)
    with postgres_server.postgres_server() as url:
        yield url


@pytest.fixture(params=["memory", "sqlite", "redis", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Generator[KeyStore]:
    """Empty, and closed afterwards."""
    kind: str = request.param
    if kind == "memory":
        yield MemoryKeys()
    elif kind == "redis":
        # A name of its own for each test is as good as an empty server.
        found = RedisKeys(request.getfixturevalue("redis_url"), timeout=5, prefix=tmp_path.name)
        yield found
        found.close()
    else:
        url = f"sqlite:///{tmp_path}/keys.db"
        if kind == "postgres":
            url = request.getfixturevalue("postgres_url")
        table = SQLKeys(url, timeout=5, table_name=f"keys_{tmp_path.name}")
        yield table
        table.close()
