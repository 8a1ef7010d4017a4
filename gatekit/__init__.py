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
    from gatekit._core.attempt import Attempt
    from gatekit._core.classify import Failures
    from gatekit._core.compose import chain, when
    from gatekit._core.conversation import Conversation, WebSocketClose
    from gatekit._core.decisions import Decision
    from gatekit._core.headers import Headers
    from gatekit._core.messages import Outcome, Request, Response
    from gatekit._core.paths import PathRules
    from gatekit._core.problems import problem
    from gatekit._core.trace import Trace, current_trace
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
    from gatekit.health.check import Check
    from gatekit.health.handler import Health
    from gatekit.keys.admin import KeyAdmin
    from gatekit.keys.manager import KeyManager
    from gatekit.limits.plans import Plan
    from gatekit.logs import QueueSink
    from gatekit.metrics.endpoint import PrometheusEndpoint
    from gatekit.middleware.access_log import AccessLog, JSONFormatter
    from gatekit.middleware.auth._authenticator import IDENTITY_HEADERS, Authenticator
    from gatekit.middleware.auth._challenges import AuthenticationFailed
    from gatekit.middleware.auth.api_key import ApiKeyAuth
    from gatekit.middleware.auth.basic import BasicAuth
    from gatekit.middleware.auth.bearer import BearerAuth
    from gatekit.middleware.auth.combine import AllOf, AnyOf
    from gatekit.middleware.auth.decision_point import DecisionPoint
    from gatekit.middleware.auth.identity import Identity
    from gatekit.middleware.auth.internal import InternalToken
    from gatekit.middleware.auth.introspection import IntrospectionAuth
    from gatekit.middleware.auth.issuer import Issuer
    from gatekit.middleware.auth.jwks import JWKS
    from gatekit.middleware.auth.remote import RemoteAuth
    from gatekit.middleware.auth.require import Require
    from gatekit.middleware.auth.rules import Rule
    from gatekit.middleware.body_limit import BodyLimit
    from gatekit.middleware.cache import Cache, CacheKey, CacheRule, CacheStats
    from gatekit.middleware.circuit_breaker import (
        CircuitBreaker,
        CircuitChange,
        CircuitOpen,
        CircuitStats,
        CircuitStatus,
    )
    from gatekit.middleware.circuit_trips import RedisTrips
    from gatekit.middleware.client_cert import ClientCert, ClientCertificate
    from gatekit.middleware.client_ip import ClientIP
    from gatekit.middleware.compress import Compress
    from gatekit.middleware.concurrency import (
        AdaptiveLimit,
        BulkheadStatus,
        ConcurrencyLimit,
        PartitionStatus,
    )
    from gatekit.middleware.correlation import CorrelationFilter, CorrelationId
    from gatekit.middleware.cors import CORS
    from gatekit.middleware.csrf import CSRF
    from gatekit.middleware.csrf_token import CSRFToken
    from gatekit.middleware.decision_trace import DecisionTrace
    from gatekit.middleware.decompress import Decompress
    from gatekit.middleware.errors import Errors
    from gatekit.middleware.etag import ETag
    from gatekit.middleware.ip_filter import IPFilter
    from gatekit.middleware.last_good import LastGood
    from gatekit.middleware.load_shed import LoadShed
    from gatekit.middleware.metrics import Metrics
    from gatekit.middleware.quota import Quota
    from gatekit.middleware.rate_limit import RateLimit
    from gatekit.middleware.security_headers import SecurityHeaders
    from gatekit.middleware.timeout import Timeout
    from gatekit.middleware.tracing import Tracing
    from gatekit.proxy.attempts.hedge import Hedge
    from gatekit.proxy.attempts.retry import RETRIABLE, Retry
    from gatekit.proxy.balance.least_requests import LeastRequests
    from gatekit.proxy.balance.maglev import Maglev
    from gatekit.proxy.balance.peak_ewma import PeakEWMA
    from gatekit.proxy.balance.power_of_two import PowerOfTwo
    from gatekit.proxy.balance.rendezvous import Rendezvous
    from gatekit.proxy.balance.ring import RingHash
    from gatekit.proxy.balance.subset import Subset
    from gatekit.proxy.clusters.affinity import CookieAffinity, HeaderAffinity
    from gatekit.proxy.clusters.cluster import Cluster, Pool
    from gatekit.proxy.clusters.destination import Destination
    from gatekit.proxy.clusters.events import ClusterEvent, MemberStatus
    from gatekit.proxy.clusters.health import HealthCheck
    from gatekit.proxy.clusters.outliers import Outliers
    from gatekit.proxy.clusters.slow_start import SlowStart
    from gatekit.proxy.handler import Proxy
    from gatekit.proxy.split import Ramp, Split
    from gatekit.proxy.transport import HTTPTransport
    from gatekit.proxy.transport.exchange import Timeouts
    from gatekit.proxy.transport.origin import TLS
    from gatekit.proxy.websocket.options import WebSockets
    from gatekit.router import Route, Router
    from gatekit.typing import Handler, Middleware

__version__ = "0.1.0"

# Where each public name lives, below `gatekit`.
_HOMES = {
    "AccessLog": "middleware.access_log",
    "AdaptiveLimit": "middleware.concurrency",
    "AllOf": "middleware.auth.combine",
    "AnyOf": "middleware.auth.combine",
    "ApiKeyAuth": "middleware.auth.api_key",
    "Attempt": "_core.attempt",
    "AuthenticationFailed": "middleware.auth._challenges",
    "Authenticator": "middleware.auth._authenticator",
    "BasicAuth": "middleware.auth.basic",
    "BearerAuth": "middleware.auth.bearer",
    "BodyLimit": "middleware.body_limit",
    "BodyTooLarge": "errors",
    "BulkheadStatus": "middleware.concurrency",
    "CORS": "middleware.cors",
    "CSRF": "middleware.csrf",
    "CSRFToken": "middleware.csrf_token",
    "Cache": "middleware.cache",
    "CacheKey": "middleware.cache",
    "CacheRule": "middleware.cache",
    "CacheStats": "middleware.cache",
    "Check": "health.check",
    "CircuitBreaker": "middleware.circuit_breaker",
    "CircuitChange": "middleware.circuit_breaker",
    "CircuitOpen": "middleware.circuit_breaker",
    "CircuitStats": "middleware.circuit_breaker",
    "CircuitStatus": "middleware.circuit_breaker",
    "ClientDisconnected": "errors",
    "ClientCert": "middleware.client_cert",
    "ClientCertificate": "middleware.client_cert",
    "ClientIP": "middleware.client_ip",
    "Cluster": "proxy.clusters.cluster",
    "ClusterEvent": "proxy.clusters.events",
    "Compress": "middleware.compress",
    "ConcurrencyLimit": "middleware.concurrency",
    "ConfigurationError": "errors",
    "Conversation": "_core.conversation",
    "CookieAffinity": "proxy.clusters.affinity",
    "CorrelationFilter": "middleware.correlation",
    "CorrelationId": "middleware.correlation",
    "Decision": "_core.decisions",
    "DecisionPoint": "middleware.auth.decision_point",
    "DecisionTrace": "middleware.decision_trace",
    "Decompress": "middleware.decompress",
    "Destination": "proxy.clusters.destination",
    "ETag": "middleware.etag",
    "Errors": "middleware.errors",
    "Failures": "_core.classify",
    "GatekitError": "errors",
    "Gateway": "gateway",
    "HTTPTransport": "proxy.transport",
    "Handler": "typing",
    "HeaderAffinity": "proxy.clusters.affinity",
    "Headers": "_core.headers",
    "Health": "health.handler",
    "HealthCheck": "proxy.clusters.health",
    "Hedge": "proxy.attempts.hedge",
    "IDENTITY_HEADERS": "middleware.auth._authenticator",
    "IPFilter": "middleware.ip_filter",
    "Identity": "middleware.auth.identity",
    "InternalToken": "middleware.auth.internal",
    "IntrospectionAuth": "middleware.auth.introspection",
    "Issuer": "middleware.auth.issuer",
    "JSONFormatter": "middleware.access_log",
    "JWKS": "middleware.auth.jwks",
    "KeyAdmin": "keys.admin",
    "KeyManager": "keys.manager",
    "LastGood": "middleware.last_good",
    "LeastRequests": "proxy.balance.least_requests",
    "LoadShed": "middleware.load_shed",
    "Maglev": "proxy.balance.maglev",
    "MemberStatus": "proxy.clusters.events",
    "Metrics": "middleware.metrics",
    "Middleware": "typing",
    "MisuseError": "errors",
    "NoResponse": "errors",
    "Outcome": "_core.messages",
    "Outliers": "proxy.clusters.outliers",
    "PartitionStatus": "middleware.concurrency",
    "PathRules": "_core.paths",
    "PeakEWMA": "proxy.balance.peak_ewma",
    "Plan": "limits.plans",
    "Pool": "proxy.clusters.cluster",
    "PowerOfTwo": "proxy.balance.power_of_two",
    "PrometheusEndpoint": "metrics.endpoint",
    "Proxy": "proxy.handler",
    "QueueSink": "logs",
    "Quota": "middleware.quota",
    "RETRIABLE": "proxy.attempts.retry",
    "Ramp": "proxy.split",
    "RateLimit": "middleware.rate_limit",
    "RedisTrips": "middleware.circuit_trips",
    "Rejected": "errors",
    "RemoteAuth": "middleware.auth.remote",
    "Rendezvous": "proxy.balance.rendezvous",
    "Request": "_core.messages",
    "Require": "middleware.auth.require",
    "Response": "_core.messages",
    "Retry": "proxy.attempts.retry",
    "RingHash": "proxy.balance.ring",
    "Route": "router",
    "Router": "router",
    "Rule": "middleware.auth.rules",
    "SecurityHeaders": "middleware.security_headers",
    "SlowStart": "proxy.clusters.slow_start",
    "Split": "proxy.split",
    "Subset": "proxy.balance.subset",
    "TLS": "proxy.transport.origin",
    "Timeout": "middleware.timeout",
    "Timeouts": "proxy.transport.exchange",
    "Trace": "_core.trace",
    "Tracing": "middleware.tracing",
    "UpstreamError": "errors",
    "WebSocketClose": "_core.conversation",
    "WebSockets": "proxy.websocket.options",
    "asgi": "_doors.asgi",
    "asgi_app": "_doors.asgi",
    "chain": "_core.compose",
    "current_trace": "_core.trace",
    "django_middleware": "_doors.django",
    "django_view": "_doors.django",
    "problem": "_core.problems",
    "when": "_core.compose",
    "wsgi": "_doors.wsgi",
    "wsgi_app": "_doors.wsgi",
}

__all__ = [
    "CORS",
    "CSRF",
    "IDENTITY_HEADERS",
    "JWKS",
    "RETRIABLE",
    "TLS",
    "AccessLog",
    "AdaptiveLimit",
    "AllOf",
    "AnyOf",
    "ApiKeyAuth",
    "Attempt",
    "AuthenticationFailed",
    "Authenticator",
    "BasicAuth",
    "BearerAuth",
    "BodyLimit",
    "BodyTooLarge",
    "BulkheadStatus",
    "CSRFToken",
    "Cache",
    "CacheKey",
    "CacheRule",
    "CacheStats",
    "Check",
    "CircuitBreaker",
    "CircuitChange",
    "CircuitOpen",
    "CircuitStats",
    "CircuitStatus",
    "ClientCert",
    "ClientCertificate",
    "ClientDisconnected",
    "ClientIP",
    "Cluster",
    "ClusterEvent",
    "Compress",
    "ConcurrencyLimit",
    "ConfigurationError",
    "Conversation",
    "CookieAffinity",
    "CorrelationFilter",
    "CorrelationId",
    "Decision",
    "DecisionPoint",
    "DecisionTrace",
    "Decompress",
    "Destination",
    "ETag",
    "Errors",
    "Failures",
    "GatekitError",
    "Gateway",
    "HTTPTransport",
    "Handler",
    "HeaderAffinity",
    "Headers",
    "Health",
    "HealthCheck",
    "Hedge",
    "IPFilter",
    "Identity",
    "InternalToken",
    "IntrospectionAuth",
    "Issuer",
    "JSONFormatter",
    "KeyAdmin",
    "KeyManager",
    "LastGood",
    "LeastRequests",
    "LoadShed",
    "Maglev",
    "MemberStatus",
    "Metrics",
    "Middleware",
    "MisuseError",
    "NoResponse",
    "Outcome",
    "Outliers",
    "PartitionStatus",
    "PathRules",
    "PeakEWMA",
    "Plan",
    "Pool",
    "PowerOfTwo",
    "PrometheusEndpoint",
    "Proxy",
    "QueueSink",
    "Quota",
    "Ramp",
    "RateLimit",
    "RedisTrips",
    "Rejected",
    "RemoteAuth",
    "Rendezvous",
    "Request",
    "Require",
    "Response",
    "Retry",
    "RingHash",
    "Route",
    "Router",
    "Rule",
    "SecurityHeaders",
    "SlowStart",
    "Split",
    "Subset",
    "Timeout",
    "Timeouts",
    "Trace",
    "Tracing",
    "UpstreamError",
    "WebSocketClose",
    "WebSockets",
    "asgi",
    "asgi_app",
    "chain",
    "current_trace",
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
