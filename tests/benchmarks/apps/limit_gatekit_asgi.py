"""A Starlette page of one KiB behind gatekit's limit, counted in the Redis at `REDIS`."""

from __future__ import annotations

import os

from gatekit import asgi
from gatekit.limits import RedisStore
from gatekit.middleware.rate_limit import RateLimit
from tests.benchmarks.apps.limit_pages import starlette

# A loaded machine is not a broken store: what is measured is counting, not the lack of it.
STORE = RedisStore(os.environ["REDIS"], timeout=2)
app = asgi(starlette(), RateLimit("1000000000/hour", store=STORE, on_store_error="deny"))
