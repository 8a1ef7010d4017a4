"""Finds the destinations of a cluster, and keeps them up to date.

    from gatekit.proxy.discovery import DNS, SRV, Environment, File, Function, Static

    Cluster("orders", resolver=DNS("orders.internal", port=8002))
    Cluster("orders", resolver=SRV("_http._tcp.orders.internal"))
    Cluster("orders", resolver=File("/etc/gateway/orders.json"), destinations=["http://orders:80"])

A resolver of one's own has one method, `resolve`; see `Resolver`.
"""

from gatekit.proxy.discovery.dns import DNS
from gatekit.proxy.discovery.environment import Environment
from gatekit.proxy.discovery.file import File
from gatekit.proxy.discovery.function import Function
from gatekit.proxy.discovery.refresh import Discovery, DiscoveryStatus
from gatekit.proxy.discovery.resolver import Answer, Resolution, Resolver
from gatekit.proxy.discovery.srv import SRV
from gatekit.proxy.discovery.static import Static

__all__ = [
    "DNS",
    "SRV",
    "Answer",
    "Discovery",
    "DiscoveryStatus",
    "Environment",
    "File",
    "Function",
    "Resolution",
    "Resolver",
    "Static",
]
