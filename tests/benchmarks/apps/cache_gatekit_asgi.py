"""A page of one KiB that comes out of gatekit's cache under ASGI."""

from __future__ import annotations

from gatekit import Cache, asgi
from tests.benchmarks.apps.cache_pages import asgi_page

app = asgi(asgi_page(1024), Cache())
