"""The policies, outermost first. `settings.MIDDLEWARE` names this module's `middleware`."""

from __future__ import annotations

from gatekit import CORS, AccessLog, BodyLimit, CorrelationId, SecurityHeaders, django_middleware

middleware = django_middleware(
    CorrelationId(),
    AccessLog(),
    CORS(allow_origins=["https://shop.example"]),
    SecurityHeaders(),
    BodyLimit(1024 * 1024),
)
