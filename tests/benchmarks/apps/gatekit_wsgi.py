"""Ours under WSGI."""

from __future__ import annotations

import os

from gatekit import Proxy, wsgi_app

app = wsgi_app(Proxy(os.environ["UPSTREAM"]))
