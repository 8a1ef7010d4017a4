"""One process of the demo: an app, under a server, on a socket that the demo has bound.

    python -m examples.demo.serve uvicorn examples.demo.catalog:app 7      # 7: the socket's number

It ends when its standard input does. The demo holds the other end of that pipe and never writes to
it, so however the demo ends, killed included, this process ends too.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import threading


def main() -> None:
    kind, target, number = sys.argv[1:]
    threading.Thread(target=end_with_parent, daemon=True).start()
    module, _, attribute = target.partition(":")
    app = getattr(importlib.import_module(module), attribute)
    bound = socket.socket(fileno=int(number))
    if kind == "uvicorn":
        import uvicorn

        # By default uvicorn believes the X-Forwarded-For of anyone on this machine.
        config = uvicorn.Config(
            app,
            log_level="warning",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        uvicorn.Server(config).run(sockets=[bound])
    else:
        from waitress.server import create_server

        # The fields that waitress would clear are the ones that the demo shows.
        server = create_server(
            app, sockets=[bound], threads=8, ident="", clear_untrusted_proxy_headers=False
        )
        server.run()


def end_with_parent() -> None:
    # Not `sys.stdin`: its lock, held here, would break the interpreter's own shutdown.
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
