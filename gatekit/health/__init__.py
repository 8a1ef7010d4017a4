"""Whether the gateway and what it needs are well: `Health`, and the `Check`s that it makes."""

from gatekit.health.check import Check
from gatekit.health.handler import Health

__all__ = ["Check", "Health"]
