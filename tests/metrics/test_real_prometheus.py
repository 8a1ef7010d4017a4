"""A real Prometheus scrapes the gateway, where one is installed."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from tests.net import Address, request
from tests.servers import run, serve

PATIENCE = 30.0

CONFIG = """\
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: gatekit
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
def test_it_is_scraped_and_can_be_asked(tmp_path: Path) -> None:
    """What the gateway has counted is what a query gives."""
    with serve("uvicorn", "tests.metrics.worker_app:asgi") as gateway:
        for _ in range(3):
            request(gateway.port, "GET", "/users/7")
        config = tmp_path / "prometheus.yml"
        config.write_text(CONFIG.format(port=gateway.port))

        def command(listen: Address) -> list[str]:
            return [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address=127.0.0.1:{listen}",
            ]

        with run(command, cwd=tmp_path) as prometheus:
            query = (
                "/api/v1/query?query=http_requests_total%7Bendpoint%3D%22%2Fusers%2F%7Bid%7D%22%7D"
            )
            until = time.monotonic() + PATIENCE
            found: list[dict[str, object]] = []
            while not found and time.monotonic() < until:
                answer = request(prometheus.port, "GET", query)
                found = json.loads(answer.body)["data"]["result"] if answer.status == 200 else []
            assert [result["value"][1] for result in found] == ["3"]  # type: ignore[index]
