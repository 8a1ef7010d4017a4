"""A Flask page of one KiB behind Flask-Limiter, counted in the Redis at `REDIS`."""

from __future__ import annotations

import os

from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from tests.benchmarks.apps.limit_pages import flask

app = flask()
Limiter(
    get_remote_address,
    app=app,
    default_limits=["1000000000/hour"],
    storage_uri=os.environ["REDIS"],
    headers_enabled=True,
)
