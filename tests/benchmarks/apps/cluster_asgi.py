"""Ours under ASGI at full strength: balancing, outlier detection, retries and timeouts."""

from __future__ import annotations

import os

from gatekit import Cluster, Outliers, Proxy, Retry, Timeouts, asgi_app

cluster = Cluster(
    "bench",
    destinations=os.environ["UPSTREAM"].split(),
    outliers=Outliers(),
    retry=Retry(per_try_timeout=10.0),
    timeouts=Timeouts(total=30.0),
)
app = asgi_app(Proxy(cluster))
