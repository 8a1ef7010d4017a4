"""fastapi-proxy-lib, as its first page shows it."""

from __future__ import annotations

import os

from fastapi_proxy_lib.fastapi.app import reverse_http_app

app = reverse_http_app(base_url=f"{os.environ['UPSTREAM']}/")
