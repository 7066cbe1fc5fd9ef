"""What the current context says: the OpenTelemetry span, if that is loaded, and the user."""

from contextvars import ContextVar

def watch_user(variable: ContextVar[bytearray | None]) -> None:
    """Write with each record the user of its context, from now on.

    ``variable`` is a `contextvars.ContextVar` whose value is a bytearray: eight bytes of a hash,
    the least significant first; anything else is no user.
    """
