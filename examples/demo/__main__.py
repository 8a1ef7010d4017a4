"""Starts three services and a gateway before them, walks through it, and stays up until Ctrl-C.

    $ make demo                     # or: python -m examples.demo
    $ make demo ONCE=1              # ends after the walk; 0 if everything was as expected, else 1
    $ make demo WSGI=1              # the gateway under a WSGI server

What is needed beside gatekit: `pip install '.[demo]'`.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
from types import FrameType
from typing import Never

from examples.demo.children import ENDINGS, Child, ChildEnded, Children
from examples.demo.tour import Screen, Tour
from examples.demo.walk import STEPS

NEEDED = ("uvicorn", "waitress", "starlette", "flask", "django")
FRAMEWORKS = {"catalog": "Starlette", "orders": "Flask", "accounts": "Django", "gateway": "gatekit"}


class Ended(BaseException):
    """Somebody asked for the end: Ctrl-C, a closed terminal, or SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main() -> int:
    """The exit status: 0, 1 if anything was not as it should, or 128 and the signal's number."""
    options = arguments()
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        print(f"The demo needs {', '.join(missing)} too: pip install '.[demo]'", file=sys.stderr)
        return 1
    for number in ENDINGS:
        signal.signal(number, end)
    # ✓ is not in every character set; a question mark is better than a traceback.
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    screen = Screen(colours=sys.stdout.isatty() and "NO_COLOR" not in os.environ)
    status: int | None = None
    try:
        with Children() as children:
            gateway = start(children, screen, wsgi=options.wsgi)
            status = walk(children, screen, gateway)
            if not options.once:
                stay(children, screen, gateway)
    except ChildEnded as error:
        screen.bad(f"\n{error}")
        return 1
    except Ended as ended:
        screen.line()
        screen.line("Everything is stopped.")
        stays = status is not None and ended.number == signal.SIGINT
        return (status or 0) if stays else 128 + ended.number
    except BrokenPipeError:
        # Nobody reads any more, as after `| head`; the interpreter still flushes when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    return status or 0


def start(children: Children, screen: Screen, *, wsgi: bool) -> Child:
    """All processes at once; each knows its port, and the gateway those of the others."""
    server = "waitress" if wsgi else "uvicorn"
    screen.title(f"A gateway under {server} ({'WSGI' if wsgi else 'ASGI'}) before three services")
    screen.line()
    services = [
        children.start("catalog", "uvicorn", "examples.demo.catalog:app"),
        children.start("orders", "waitress", "examples.demo.orders:app"),
        children.start("accounts", "waitress", "examples.demo.accounts:app"),
    ]
    urls = {f"{service.name.upper()}_URL": service.url for service in services}
    gateway = children.start(
        "gateway",
        server,
        f"examples.demo.gateway:{'wsgi' if wsgi else 'asgi'}",
        {**urls, "BILLING_URL": children.nobody()},
    )
    children.wait_until_ready()
    for child in (*services, gateway):
        where = f"{FRAMEWORKS[child.name]} on {child.server}"
        screen.line(f"    {child.name:9} {where:22} {child.url}   pid {child.process.pid}")
    return gateway


def walk(children: Children, screen: Screen, gateway: Child) -> int:
    """Every step; 0 if all was as expected, else 1."""
    tour = Tour(screen, gateway)
    for number, step in enumerate(STEPS, 1):
        tour.take(number, step)
        children.check()
    screen.line()
    if tour.wrong:
        screen.bad(f"Not as expected: {tour.wrong}.")
        return 1
    screen.good(f"{len(STEPS)} steps, and everything as expected.")
    return 0


def stay(children: Children, screen: Screen, gateway: Child) -> Never:
    """Until somebody, or one of the processes, ends it."""
    screen.title("The gateway stays up; its access log follows. Ctrl-C ends it. Try:")
    screen.line()
    screen.line(f"    curl -i {gateway.url}/catalog/items", "36")
    screen.line()
    gateway.on_line = screen.faint
    while True:
        children.check(None)


def end(number: int, _: FrameType | None) -> Never:
    raise Ended(number)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--once", action="store_true", help="end after the walk")
    parser.add_argument("--wsgi", action="store_true", help="run the gateway under a WSGI server")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
