"""Which error is this: process-local keys on the hot path, the stable fingerprint behind them."""

def fingerprint(exc: BaseException) -> int:
    """Stable fingerprint of an exception, computed the slow way: a u64, never 0.

    The same in every process, whatever the addresses, the message or the line a function starts
    at. Raises TypeError for anything but an exception.

    >>> fingerprint(ValueError("a")) == fingerprint(ValueError("b"))
    True
    """
