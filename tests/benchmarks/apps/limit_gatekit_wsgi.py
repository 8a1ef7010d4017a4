"""A Flask page of one KiB behind gatekit's limit, counted in the Redis at `REDIS`."""

from __future__ import annotations

import os

from gatekit import wsgi
from gatekit.limits import RedisStore
from gatekit.middleware.rate_limit import RateLimit
from tests.benchmarks.apps.limit_pages import flask

STORE = RedisStore(os.environ["REDIS"], timeout=2)
app = wsgi(flask().wsgi_app, RateLimit("1000000000/hour", store=STORE, on_store_error="deny"))
