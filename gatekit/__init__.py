"""gatekit: API gateway middlewares and handlers for your own WSGI or ASGI app.

from gatekit import Gateway, Route, Proxy, CorrelationId, CORS

gateway = Gateway(
    CorrelationId(),
    CORS(allow_origins=["https://app.example"]),
    routes=[Route("/api/users/*", Proxy("http://users:8001"))],
)
app = gateway.asgi(app)

A name is imported when it is first used, so that an app pays only for what it stacks.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gatekit._core.classify import Failures
    from gatekit._core.compose import chain, when
    from gatekit._core.decisions import Decision
    from gatekit._core.headers import Headers
    from gatekit._core.messages import Outcome, Request, Response
    from gatekit._core.paths import PathRules
    from gatekit._core.problems import problem
    from gatekit._doors.asgi import asgi, asgi_app
    from gatekit._doors.django import django_middleware, django_view
    from gatekit._doors.wsgi import wsgi, wsgi_app
    from gatekit.errors import (
        BodyTooLarge,
        ClientDisconnected,
        ConfigurationError,
        GatekitError,
        MisuseError,
        NoResponse,
        Rejected,
        UpstreamError,
    )
    from gatekit.gateway import Gateway
    from gatekit.limits.plans import Plan
    from gatekit.middleware.access_log import AccessLog, JSONFormatter
    from gatekit.middleware.body_limit import BodyLimit
    from gatekit.middleware.circuit_breaker import (
        CircuitBreaker,
        CircuitChange,
        CircuitOpen,
        CircuitStats,
        CircuitStatus,
    )
    from gatekit.middleware.circuit_trips import RedisTrips
    from gatekit.middleware.client_ip import ClientIP
    from gatekit.middleware.concurrency import (
        AdaptiveLimit,
        BulkheadStatus,
        ConcurrencyLimit,
        PartitionStatus,
    )
    from gatekit.middleware.correlation import CorrelationFilter, CorrelationId
    from gatekit.middleware.cors import CORS
    from gatekit.middleware.last_good import LastGood
    from gatekit.middleware.load_shed import LoadShed
    from gatekit.middleware.quota import Quota
    from gatekit.middleware.rate_limit import RateLimit
    from gatekit.middleware.security_headers import SecurityHeaders
    from gatekit.middleware.timeout import Timeout
    from gatekit.proxy.exchange import Timeouts
    from gatekit.proxy.handler import Proxy
    from gatekit.proxy.origin import TLS
    from gatekit.proxy.transport import HTTPTransport
    from gatekit.router import Route, Router
    from gatekit.typing import Handler, Middleware

__version__ = "0.1.0"

# Where each public name lives, below `gatekit`.
_HOMES = {
    "AccessLog": "middleware.access_log",
    "AdaptiveLimit": "middleware.concurrency",
    "BodyLimit": "middleware.body_limit",
    "BodyTooLarge": "errors",
    "BulkheadStatus": "middleware.concurrency",
    "CORS": "middleware.cors",
    "CircuitBreaker": "middleware.circuit_breaker",
    "CircuitChange": "middleware.circuit_breaker",
    "CircuitOpen": "middleware.circuit_breaker",
    "CircuitStats": "middleware.circuit_breaker",
    "CircuitStatus": "middleware.circuit_breaker",
    "ClientDisconnected": "errors",
    "ClientIP": "middleware.client_ip",
    "ConcurrencyLimit": "middleware.concurrency",
    "ConfigurationError": "errors",
    "CorrelationFilter": "middleware.correlation",
    "CorrelationId": "middleware.correlation",
    "Decision": "_core.decisions",
    "Failures": "_core.classify",
    "GatekitError": "errors",
    "Gateway": "gateway",
    "HTTPTransport": "proxy.transport",
    "Handler": "typing",
    "Headers": "_core.headers",
    "JSONFormatter": "middleware.access_log",
    "LastGood": "middleware.last_good",
    "LoadShed": "middleware.load_shed",
    "Middleware": "typing",
    "MisuseError": "errors",
    "NoResponse": "errors",
    "Outcome": "_core.messages",
    "PartitionStatus": "middleware.concurrency",
    "PathRules": "_core.paths",
    "Plan": "limits.plans",
    "Proxy": "proxy.handler",
    "Quota": "middleware.quota",
    "RateLimit": "middleware.rate_limit",
    "RedisTrips": "middleware.circuit_trips",
    "Rejected": "errors",
    "Request": "_core.messages",
    "Response": "_core.messages",
    "Route": "router",
    "Router": "router",
    "SecurityHeaders": "middleware.security_headers",
    "TLS": "proxy.origin",
    "Timeout": "middleware.timeout",
    "Timeouts": "proxy.exchange",
    "UpstreamError": "errors",
    "asgi": "_doors.asgi",
    "asgi_app": "_doors.asgi",
    "chain": "_core.compose",
    "django_middleware": "_doors.django",
    "django_view": "_doors.django",
    "problem": "_core.problems",
    "when": "_core.compose",
    "wsgi": "_doors.wsgi",
    "wsgi_app": "_doors.wsgi",
}

__all__ = [
    "CORS",
    "TLS",
    "AccessLog",
    "AdaptiveLimit",
    "BodyLimit",
    "BodyTooLarge",
    "BulkheadStatus",
    "CircuitBreaker",
    "CircuitChange",
    "CircuitOpen",
    "CircuitStats",
    "CircuitStatus",
    "ClientDisconnected",
    "ClientIP",
    "ConcurrencyLimit",
    "ConfigurationError",
    "CorrelationFilter",
    "CorrelationId",
    "Decision",
    "Failures",
    "GatekitError",
    "Gateway",
    "HTTPTransport",
    "Handler",
    "Headers",
    "JSONFormatter",
    "LastGood",
    "LoadShed",
    "Middleware",
    "MisuseError",
    "NoResponse",
    "Outcome",
    "PartitionStatus",
    "PathRules",
    "Plan",
    "Proxy",
    "Quota",
    "RateLimit",
    "RedisTrips",
    "Rejected",
    "Request",
    "Response",
    "Route",
    "Router",
    "SecurityHeaders",
    "Timeout",
    "Timeouts",
    "UpstreamError",
    "asgi",
    "asgi_app",
    "chain",
    "django_middleware",
    "django_view",
    "problem",
    "when",
    "wsgi",
    "wsgi_app",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'gatekit' has no attribute {name!r}")
    value: object = getattr(import_module(f"gatekit.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
