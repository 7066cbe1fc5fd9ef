"""What is found out about an error once: its type's classification, its first sighting.

All of it may run Python (the classifier, names of types) and may therefore record errors itself;
so tables are looked up again after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import index
from typing import Any, Final

from faultplane.schema import CHAIN_MAX, KIND_INTERNAL, SERIES_ERROR, UNKNOWN_CATEGORY

from .attributes import encode_attributes
from .fingerprint import (
    WALK_FRAMES,
    Portrait,
    cause_of,
    context_of,
    references,
    rest,
    traceback_of,
    walk_chain,
    walk_group,
)
from .message import cut_utf8, utf8_of
from .recorder import state
from .redact import redact
from .template import template
from .writer import Codes

__all__: list[str] = []

TYPES_MAX: Final = 1536
SITES_MAX: Final = 3072
OPERATION_BYTES_MAX: Final = 1024
ERRNO_MAX: Final = 999_999

_errno_of: Final[Any] = OSError.__dict__["errno"].__get__

# What the classifier says an answer may be remembered by: one of these, or what reads a key from
# the exception, with the key. 0 is nothing, it is asked every time.
NEVER: Final = 0
BY_TYPE: Final = 1
BY_CAUSES: Final = 2


# Before a key, so that it is not taken for an errno.
_KEYED: Final = "key"


class TypeInfo:
    """What is known of the errors of one type (of one errno, for an OSError).

    ``key`` tells it from all others. ``is_plain``: the classification is known and holds for
    every instance, and type and tracebacks say all that the key of an error needs. ``by_causes``:
    where there is a ``__cause__``, it may answer for this one. ``read``: gives the key of an
    exception of the type, by which its classification is kept.
    """

    __slots__ = (
        "by_causes",
        "category",
        "classification",
        "flags",
        "is_group",
        "is_ignored",
        "is_plain",
        "key",
        "kind",
        "read",
        "severity",
        "type",
    )

    def __init__(self, type_: type[BaseException]) -> None:
        self.key: object = id(type_)
        self.type = type_
        self.is_group = issubclass(type_, BaseExceptionGroup)
        self.is_ignored = _is_ignored(type_)
        self.is_plain = False
        self.by_causes = False
        self.read: Callable[[BaseException], object] | None = None
        self.classification: Any = None
        self.kind, self.category = KIND_INTERNAL, UNKNOWN_CATEGORY
        self.severity, self.flags = 17, 0

    def describe(self, classification: Any) -> None:
        """Copy the codes of a classification; absurd ones become those of an unknown error."""
        try:
            codes = [
                index(getattr(classification, name))
                for name in ("kind_code", "category_code", "severity_number", "flag_bits")
            ]
        except BaseException:  # noqa: BLE001 - the application's object may raise anything
            codes = [-1]
        if not all(0 <= code <= 255 for code in codes):
            codes = [KIND_INTERNAL, UNKNOWN_CATEGORY, 17, 0]
        self.kind, self.category, self.severity, self.flags = codes

    def narrowed(self, *more: object) -> TypeInfo:
        """Another of the same type, with a key of its own and not classified yet."""
        other = TypeInfo.__new__(TypeInfo)
        for name in TypeInfo.__slots__:
            setattr(other, name, getattr(self, name))
        other.key = self.key, *more
        other.classification = None
        other.by_causes = False
        other.read = None
        return other


class Site(Codes):
    """One error: what its rows have in common, and its count.

    ``refs`` keeps alive what its key names by address.
    """

    __slots__ = ("cell", "classification", "refs", "template")

    cell: int
    classification: Any
    refs: tuple[object, ...]
    template: bytes


def _is_ignored(type_: type[BaseException]) -> bool:
    try:
        # Asked as Python asks: a metaclass may stand for types by name. Once per type.
        return issubclass(type_, state.ignored)
    except BaseException:  # noqa: BLE001 - a metaclass may raise anything
        return False


def errno_of(exception: BaseException) -> int:
    """The error number that is part of an OSError's key; 0 where it has none."""
    value = _errno_of(exception)
    return value if type(value) is int and 0 < value <= ERRNO_MAX else 0


def causes_of(exception: BaseException) -> list[object]:
    """Type and errno of every exception along the ``__cause__`` chain.

    Types by address; each gets a place in the table, which keeps it alive as long as the answer.
    """
    found: list[object] = []
    cause = cause_of(exception)
    while cause is not None and len(found) <= 2 * CHAIN_MAX:
        type_ = type(cause)
        if id(type_) not in state.types:
            _insert(TypeInfo(type_))
        found += id(type_), errno_of(cause) if issubclass(type_, OSError) else 0
        cause = cause_of(cause)
    return found


def find_type(exception: BaseException) -> tuple[TypeInfo, Any]:
    """(Type, classification) of an exception whose type is new, special or not yet classified."""
    type_ = type(exception)
    info = state.types.get(id(type_)) or _insert(TypeInfo(type_))
    if info.read is not None:
        return _by_key(info, exception)
    if issubclass(type_, OSError) and (errno := errno_of(exception)):
        info = state.types.get((info.key, errno)) or _find(info.narrowed(errno))
    narrow = info.by_causes and cause_of(exception) is not None
    if narrow:
        info = _find(info.narrowed(*causes_of(exception)))
    if info.classification is not None:
        return info, info.classification
    epoch = state.epoch
    classification, remembered = _ask(exception)
    if type(remembered) is tuple:
        kept = _keep_by_key(type_, remembered, classification, epoch)
        if kept is not None:
            return kept, classification
        remembered = NEVER
    if remembered == BY_CAUSES and not narrow and epoch == state.epoch:
        info.by_causes = True
        if cause_of(exception) is not None:
            info = _find(info.narrowed(*causes_of(exception)))
    if remembered:
        info.describe(classification)
        if epoch == state.epoch:
            info.classification = classification
            special = issubclass(type_, OSError) or info.is_group or info.is_ignored
            info.is_plain = remembered == BY_TYPE and not special
        return info, classification
    return _asked_anew(info, classification), classification


def _ask(exception: BaseException) -> tuple[Any, Any]:
    """What the classifier says: (classification, what it may be remembered by)."""
    if state.classify is None:
        return state.unclassified, BY_TYPE
    try:
        classification, remembered = state.classify(exception)
        if type(remembered) is tuple:
            _, key = remembered
            hash(key)
    except BaseException:  # noqa: BLE001 - rules are the application's
        return state.unclassified, NEVER
    return classification, remembered


def _asked_anew(info: TypeInfo, classification: Any) -> TypeInfo:
    """For a type that is classified every time: what came out is part of the key."""
    once = info.narrowed()
    once.describe(classification)
    once.key = info.key, once.kind, once.category, once.severity, once.flags
    return once


def _by_key(info: TypeInfo, exception: BaseException) -> tuple[TypeInfo, Any]:
    """(Type, classification) of an exception from whose type's exceptions a key is read."""
    try:
        key = info.read(exception)  # type: ignore[misc]
        found = None if key is None else state.types.get((info.key, _KEYED, key))
    except BaseException:  # noqa: BLE001 - attributes are the application's
        found = None
    if found is not None:
        return found, found.classification
    epoch = state.epoch
    classification, remembered = _ask(exception)
    kept = None
    if type(remembered) is tuple:
        kept = _keep_by_key(info.type, remembered, classification, epoch)
    return kept or _asked_anew(info, classification), classification


def _keep_by_key(
    type_: type[BaseException], told: tuple[Any, object], classification: Any, epoch: int
) -> TypeInfo | None:
    """Keep an answer under a key, and by the type what reads the key; None if that cannot be.

    The key alone says what errno and causes would.
    """
    read, key = told
    if epoch != state.epoch:
        return None  # a rule changed while the classifier ran: this answer may be old
    info = state.types.get(id(type_)) or _insert(TypeInfo(type_))
    if info.classification is not None or info.read not in (None, read):
        return None
    info.read = read
    kept = info.narrowed(_KEYED, key)
    kept.describe(classification)
    kept.classification = classification
    return _insert(kept)


def _find(info: TypeInfo) -> TypeInfo:
    return state.types.get(info.key) or _insert(info)


def _insert(info: TypeInfo) -> TypeInfo:
    if len(state.types) >= TYPES_MAX:
        state.flush()
    return state.types.setdefault(info.key, info)


def key_of(exception: BaseException, info: TypeInfo, operation: str | None) -> tuple[object, ...]:
    """What tells errors apart in this process: see `fingerprint.walk`, which is inlined here."""
    key: list[object] = [info.key, operation]
    entry = traceback_of(exception)
    for _ in WALK_FRAMES:
        if entry is None:
            break
        key += id(entry.tb_frame.f_code), entry.tb_lasti
        entry = entry.tb_next
    if entry is not None:
        key.append(rest(entry))
    if cause_of(exception) is not None or context_of(exception) is not None:
        walk_chain(exception, key)
    if info.is_group:
        walk_group(exception, key)
    return tuple(key)


def sight(
    exception: BaseException,
    key: tuple[object, ...],
    info: TypeInfo,
    classification: Any,
    operation: str | None,
    message: bytes,
) -> Site:
    """Everything that is found out once about an error, kept under ``key``."""
    portrait = Portrait(exception)
    site = Site()
    site.template = template(message.decode()).encode()
    name = utf8_of(operation or "")
    site.classification = classification
    site.fingerprint = portrait.fingerprint
    site.kind, site.category, site.severity = info.kind, info.category, info.severity
    state.notice_fork()
    site.cell = state.aggregate.series(
        SERIES_ERROR, info.kind, portrait.fingerprint, name, portrait.type
    )
    site.type = state.intern_name(portrait.type)
    site.site = state.intern_name(portrait.site)
    site.operation = state.intern_name(cut_utf8(name, OPERATION_BYTES_MAX))
    if state.stacks is not None:
        state.stacks.intern_stack(portrait.fingerprint, portrait.stack(message, site.template))
    site.refs = info.type, *references(exception)
    if len(state.sites) >= SITES_MAX:
        state.flush()
    if key_of(exception, info, operation) == key:
        # Else it changed while it was portrayed: no other error may have what was found.
        state.sites[key] = site
    return site


def encode(attributes: Mapping[str, Any]) -> bytes | None:
    """Attributes as bytes; None when they cannot be encoded."""
    try:
        if state.encode_attributes is None:
            return encode_attributes(attributes, None if state.messages == "raw" else _hide)
        encoded: Any = state.encode_attributes(attributes)
    except BaseException:  # noqa: BLE001 - values are the application's
        return None
    return encoded if type(encoded) is bytes else None


def _hide(text: str) -> str:
    """Text of an attribute without what messages are not to say either."""
    hidden = redact(text)
    return hidden if state.redact_more is None else state.redact_more(hidden)
