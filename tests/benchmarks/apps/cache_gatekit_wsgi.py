"""A page of one KiB that comes out of gatekit's cache under WSGI."""

from __future__ import annotations

from gatekit import Cache, wsgi
from tests.benchmarks.apps.cache_pages import wsgi_page

app = wsgi(wsgi_page(1024), Cache())
