"""Test a middleware without a server, and an app without a client library.

    io = FakeIO()
    answer = exercise(RateLimit("1/second"), io=io)
    assert answer.status == 200
    io.advance(1.0)

`exercise` puts middlewares around an app that is a function, steps them by hand and gives the
answer with its `Outcome`. It resumes them in another context than it started them in, because some
servers and frameworks do: a middleware that resets a `ContextVar` token across `call_next` fails
here and not at night. What a middleware raises is raised to the test.

`call_asgi` and `call_wsgi` send one request to any app, in process. `upstream` makes a transport of
a function, so that a `Proxy` is tested without a socket.
"""

from gatekit.testing.clients import Answer, call_asgi, call_wsgi
from gatekit.testing.exercise import exercise, make_request
from gatekit.testing.fake_io import FakeIO
from gatekit.testing.upstreams import FunctionTransport, Sent, upstream

__all__ = [
    "Answer",
    "FakeIO",
    "FunctionTransport",
    "Sent",
    "call_asgi",
    "call_wsgi",
    "exercise",
    "make_request",
    "upstream",
]
