"""A Starlette page of one KiB behind slowapi, counted in the Redis at `REDIS`."""

from __future__ import annotations

import os

from slowapi import Limiter
from slowapi.middleware import SlowAPIASGIMiddleware
from slowapi.util import get_remote_address
from starlette.middleware import Middleware

from tests.benchmarks.apps.limit_pages import starlette

app = starlette(Middleware(SlowAPIASGIMiddleware))
app.state.limiter = Limiter(
    key_func=get_remote_address,
    default_limits=["1000000000/hour"],
    storage_uri=os.environ["REDIS"],
    headers_enabled=True,
)
