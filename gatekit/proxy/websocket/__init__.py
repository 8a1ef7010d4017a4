"""WebSockets through the proxy: two connections, and what crosses between them."""
