"""gatekit: API gateway middlewares and handlers for your own WSGI or ASGI app.

from gatekit import Gateway, Route, Proxy, CorrelationId, CORS

gateway = Gateway(
    CorrelationId(),
    CORS(allow_origins=["https://app.example"]),
    routes=[Route("/api/users/*", Proxy("http://users:8001"))],
)
app = gateway.asgi(app)
"""

from gatekit._core.compose import chain, when
from gatekit._core.headers import Headers
from gatekit._core.messages import Outcome, Request, Response
from gatekit._core.paths import PathRules
from gatekit._core.problems import problem
from gatekit._doors.asgi import asgi, asgi_app
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
from gatekit.middleware.access_log import AccessLog, JSONFormatter
from gatekit.middleware.body_limit import BodyLimit
from gatekit.middleware.client_ip import ClientIP
from gatekit.middleware.correlation import CorrelationFilter, CorrelationId
from gatekit.middleware.cors import CORS
from gatekit.middleware.security_headers import SecurityHeaders
from gatekit.middleware.timeout import Timeout
from gatekit.proxy.exchange import Timeouts
from gatekit.proxy.handler import Proxy
from gatekit.proxy.origin import TLS
from gatekit.proxy.transport import HTTPTransport
from gatekit.router import Route, Router
from gatekit.typing import Handler, Middleware

__version__ = "0.1.0"

__all__ = [
    "CORS",
    "TLS",
    "AccessLog",
    "BodyLimit",
    "BodyTooLarge",
    "ClientDisconnected",
    "ClientIP",
    "ConfigurationError",
    "CorrelationFilter",
    "CorrelationId",
    "GatekitError",
    "Gateway",
    "HTTPTransport",
    "Handler",
    "Headers",
    "JSONFormatter",
    "Middleware",
    "MisuseError",
    "NoResponse",
    "Outcome",
    "PathRules",
    "Proxy",
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
    "problem",
    "when",
    "wsgi",
    "wsgi_app",
]
