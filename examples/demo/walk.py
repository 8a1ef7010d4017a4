"""The walk: each step is a function, its docstring the title, its expectations what proves it."""

from __future__ import annotations

import json
import re

from examples.demo.client import Answer, Call
from examples.demo.tour import Step, Tour

SHOP = "https://shop.example"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def one_address(tour: Tour) -> None:
    """One address for three services, each in a framework of its own"""
    for service, target in (
        ("catalog", "/catalog/items"),
        ("orders", "/orders/welcome"),
        ("accounts", "/accounts/whoami"),
    ):
        answer = tour.get(target)
        answered = json.loads(answer.body)["service"]
        tour.expect(f"{service} has answered", (answer.status, answered) == (200, service))


def own_handler(tour: Tour) -> None:
    """What the gateway answers itself: how it and its services are"""
    answer = tour.get("/health", show=["content-type", "cache-control"])
    told = json.loads(answer.body)
    tour.expect("200, and up", (answer.status, told["status"]) == (200, "up"))
    tour.expect(
        "an entry for each service", {"catalog", "orders", "accounts"} <= set(told["services"])
    )
    tour.expect("ready for requests", tour.get("/readyz").status == 200)


def correlation_made(tour: Tour) -> None:
    """Every request gets a correlation id, which the service is told and the client too"""
    answer = tour.get("/accounts/whoami", show=["x-correlation-id"])
    made = answer.header("x-correlation-id")
    tour.expect("a new id was made", UUID.fullmatch(made) is not None)
    tour.expect("the service saw the same", seen_by_service(answer)["X-Correlation-ID"] == made)


def correlation_kept(tour: Tour) -> None:
    """A caller's own correlation id is kept"""
    given = {"X-Correlation-ID": "checkout-42"}
    answer = tour.get("/accounts/whoami", given, show=["x-correlation-id"])
    tour.expect("the id came back", answer.header("x-correlation-id") == "checkout-42")
    seen = seen_by_service(answer)["X-Correlation-ID"]
    tour.expect("the service saw it", seen == "checkout-42")


def correlation_replaced(tour: Tour) -> None:
    """One that could forge a line in a log is replaced"""
    given = {"X-Correlation-ID": 'x" level="ERROR'}
    answer = tour.get("/accounts/whoami", given, show=["x-correlation-id"])
    made = answer.header("x-correlation-id")
    tour.expect("a new id took its place", UUID.fullmatch(made) is not None)
    tour.expect("the service saw the new one", seen_by_service(answer)["X-Correlation-ID"] == made)


def forwarded(tour: Tour) -> None:
    """The service is told who asks; what the client claims about itself is dropped"""
    lie = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Host": "evil.example"}
    seen = seen_by_service(tour.get("/accounts/whoami", lie))
    asked = f"127.0.0.1:{tour.gateway.port}"
    tour.expect("the client's real address", seen["X-Forwarded-For"] == "127.0.0.1")
    tour.expect("the host it asked for", seen["X-Forwarded-Host"] == asked)
    tour.expect("the prefix that was cut off", seen["X-Forwarded-Prefix"] == "/accounts")
    tour.expect("RFC 7239's Forwarded", seen["Forwarded"].startswith("for=127.0.0.1;proto=http"))
    tour.expect("nothing of the lie", not any(word in str(seen) for word in ("203.0", "evil")))


def preflight(tour: Tour) -> None:
    """A CORS preflight is answered by the gateway"""
    asks = {"Origin": SHOP, "Access-Control-Request-Method": "GET"}
    show = ["access-control-allow-origin", "access-control-max-age"]
    answer = tour.call(Call("OPTIONS", "/catalog/items", asks), show)
    tour.expect("204, the shop is let in", answer.status == 204)
    tour.expect("its origin is named", answer.header("access-control-allow-origin") == SHOP)
    asks = {**asks, "Origin": "https://evil.example"}
    answer = tour.call(Call("OPTIONS", "/catalog/items", asks), show)
    tour.expect_problem(answer, 400, "cors-preflight")
    tour.expect("evil.example is not let in", not answer.header("access-control-allow-origin"))


def not_found(tour: Tour) -> None:
    """A 404 carries the CORS fields too, so that a page in a browser may read it"""
    show = ["content-type", "access-control-allow-origin", "x-correlation-id", "vary"]
    answer = tour.get("/nowhere", {"Origin": SHOP}, show)
    tour.expect_problem(answer, 404, "no-route")
    tour.expect("the shop may read it", answer.header("access-control-allow-origin") == SHOP)


def security_headers(tour: Tour) -> None:
    """Header fields that tell browsers what an answer may not do"""
    wanted = {
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "referrer-policy": "no-referrer",
    }
    answer = tour.get("/catalog/items", show=list(wanted))
    for name, value in wanted.items():
        tour.expect(name, answer.header(name) == value)


def wrong_method(tour: Tour) -> None:
    """A method that no route takes: 405, and what would be taken"""
    answer = tour.call(Call("DELETE", "/catalog/items"), ["allow"])
    tour.expect_problem(answer, 405, "method-not-allowed")
    tour.expect("Allow names GET", "GET" in answer.header("allow"))


def ambiguous_path(tour: Tour) -> None:
    """A path that two servers could read in two ways goes nowhere"""
    answer = tour.get("/catalog/..%2Faccounts/whoami")
    tour.expect_problem(answer, 400, "ambiguous-path")


def body_limit(tour: Tour) -> None:
    """A body beyond the limit of its route is stopped"""
    small = tour.call(Call("POST", "/orders/", body=b"two teapots"))
    tour.expect("11 bytes reach the service", json.loads(small.body)["received"] == 11)
    large = Call("POST", "/orders/", body=b" " * 2000, data='"$(printf %2000s)"')
    tour.expect_problem(tour.call(large), 413, "body-too-large")


def timeout(tour: Tour) -> None:
    """A service that takes longer than its route allows: 504"""
    answer = tour.get("/catalog/slow", show=["proxy-status"])
    # Route and proxy keep the same deadline; whichever clock is first says what happened.
    tour.expect_problem(answer, 504, "timeout", "upstream-timeout")
    seconds, _ = answer.pieces[0]
    tour.expect(f"after {seconds:.1f} s, not after 3", 0.4 < seconds < 2.5)


def upstream_down(tour: Tour) -> None:
    """A service that is down: 502, and Proxy-Status (RFC 9209) says why"""
    answer = tour.get("/billing/invoices", show=["content-type", "proxy-status"])
    tour.expect_problem(answer, 502, "upstream-unreachable")
    status = answer.header("proxy-status")
    tour.expect("the connection was refused", status == "gatekit; error=connection_refused")


def service_error(tour: Tour) -> None:
    """A service's own 500 passes, with everything that the gateway puts on an answer"""
    show = ["access-control-allow-origin", "x-correlation-id"]
    answer = tour.get("/accounts/broken", {"Origin": SHOP}, show)
    tour.expect("500 from Django", answer.status == 500 and "Server Error" in answer.text)
    tour.expect("the shop may read it", answer.header("access-control-allow-origin") == SHOP)
    tour.expect("it can be found in the log", bool(answer.header("x-correlation-id")))


def redirect(tour: Tour) -> None:
    """Several cookies stay several, and a redirect leads back to the gateway"""
    answer = tour.get("/orders/login", show=["location", "set-cookie"])
    cookies = answer.values("set-cookie")
    tour.expect("two Set-Cookie", [one.split("=")[0] for one in cookies] == ["session", "theme"])
    tour.expect("for the path that the client sees", all("Path=/orders" in one for one in cookies))
    tour.expect("the service's own address is gone", answer.header("location") == "/orders/welcome")


def streaming(tour: Tour) -> None:
    """An answer that grows is passed on as it grows"""
    answer = tour.call(Call("GET", "/catalog/ticks"), streams=True)
    ticks = b"".join(b"tick %d\n" % number for number in range(1, 5))
    tour.expect("four ticks", answer.body == ticks)
    spread = answer.pieces[-1][0] - answer.pieces[0][0]
    tour.expect("the first was here long before the last", spread > 0.4)


def access_log(tour: Tour) -> None:
    """One line of JSON for each request, with its secrets taken out"""
    given = {"X-Correlation-ID": "find-me"}
    tour.get("/catalog/items?page=2&token=hunter2", given)
    line = tour.gateway.find_line(lambda line: "find-me" in line)
    tour.screen.faint(f"    {line}")
    said = json.loads(line or "{}")
    tour.expect("which route it took", said.get("route") == "/catalog/*")
    tour.expect("how it ended", (said.get("status"), said.get("outcome")) == (200, "complete"))
    tour.expect("how long the service took", isinstance(said.get("upstream_time"), float))
    tour.expect("no token", said.get("query") == "page=2&token=[redacted]")


def one_trace(tour: Tour) -> None:
    """A caller's trace goes on: to the service, and into the log"""
    trace, caller = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    given = {"traceparent": f"00-{trace}-{caller}-01", "X-Correlation-ID": "traced"}
    seen = seen_by_service(tour.get("/accounts/whoami", given))["Traceparent"]
    _, trace_id, parent, flags = seen.split("-")
    tour.expect("the service saw the same trace", (trace_id, flags) == (trace, "01"))
    tour.expect("called by a span of the gateway's own", parent != caller)
    line = tour.gateway.find_line(lambda line: '"traced"' in line)
    tour.screen.faint(f"    {line}")
    tour.expect("the log has it", json.loads(line or "{}").get("trace_id") == trace)


def metrics(tour: Tour) -> None:
    """All of this in numbers, for Prometheus: routes and services, never paths"""
    text = tour.get("/metrics", show=["content-type"]).text
    for name in ("http_requests_total", "gatekit_overhead_seconds_count"):
        tour.screen.line()
        for line in text.splitlines():
            if line.startswith(name + "{"):
                tour.screen.faint(f"    {line}")
    wanted = {'method="GET"', 'endpoint="/accounts/*"', 'status="200"', 'service="accounts"'}
    counted = (line for line in text.splitlines() if line.startswith("http_requests_total{"))
    tour.expect("the accounts have answered", any(wanted <= set(_labels(line)) for line in counted))
    tour.expect("no path is a label", "/accounts/whoami" not in text)


def _labels(line: str) -> list[str]:
    return line.partition("{")[2].partition("}")[0].split(",")


def seen_by_service(answer: Answer) -> dict[str, str]:
    seen: dict[str, str] = json.loads(answer.body)["seen"]
    return seen


STEPS: tuple[Step, ...] = (
    one_address,
    own_handler,
    correlation_made,
    correlation_kept,
    correlation_replaced,
    forwarded,
    preflight,
    not_found,
    security_headers,
    wrong_method,
    ambiguous_path,
    body_limit,
    timeout,
    upstream_down,
    service_error,
    redirect,
    streaming,
    access_log,
    one_trace,
    metrics,
)
