"""The pure core: the readable specification of the compiled one, and the fallback.

The same names, parameters, errors and bytes on disk as ``faultplane._core``. It is one writer
among others of its kind, never beside compiled ones: they keep stores of their own.
"""

from .attributes import encode_attributes
from .block import Block, enter, hold_users, innermost, leave
from .breath import install_fatal_handler, rearm_fatal_handler
from .control import Cell
from .counter import Counter
from .fingerprint import fingerprint
from .guard import Call, Guard, Guarded
from .memory import Mapping, lane_words
from .record import classify, record, seen
from .recorder import (
    bind,
    bound,
    configure,
    flush_caches,
    own_cells,
    own_overflow,
    unbind,
    writer_state,
)
from .redact import redact
from .ring import Ring
from .template import template
from .trace import watch_user

NAME = "python"

__all__ = [
    "NAME",
    "Block",
    "Call",
    "Cell",
    "Counter",
    "Guard",
    "Guarded",
    "Mapping",
    "Ring",
    "bind",
    "bound",
    "classify",
    "configure",
    "encode_attributes",
    "enter",
    "fingerprint",
    "flush_caches",
    "hold_users",
    "innermost",
    "install_fatal_handler",
    "lane_words",
    "leave",
    "own_cells",
    "own_overflow",
    "rearm_fatal_handler",
    "record",
    "redact",
    "seen",
    "template",
    "unbind",
    "watch_user",
    "writer_state",
]
