"""Attributes of a record: a mapping to the bytes of an OTLP ``KeyValueList``."""

from collections.abc import Callable, Mapping
from typing import Any

ATTRIBUTES_MAX: int
"""Attributes kept of one mapping (OpenTelemetry's own default); later ones are counted."""
DEPTH_MAX: int
"""Lists and mappings within one another; a deeper value becomes the name of its type."""
VALUE_BYTES_MAX: int
"""Longest text or bytes of one value; a longer one is cut."""
KEY_BYTES_MAX: int
"""Longest key; a longer one is cut."""
REPLACED_KEYS_MAX: int
"""Keys listed in ``faultplane.replaced``."""
DROPPED_KEY: str
"""Attribute that counts what was past `ATTRIBUTES_MAX`."""
REPLACED_KEY: str
"""Attribute that lists the keys whose value was cut, or replaced by the name of its type."""
MASK: str

def encode_attributes(
    attributes: Mapping[str, Any], redact: Callable[[str], str] | None = None
) -> bytes:
    """Bytes of the ``KeyValueList`` for ``attributes``; never raises for what is in it.

    A value whose key looks like a secret's (`looks_secret`) becomes ``***``; ``redact`` is applied
    to every other text. At most `ATTRIBUTES_MAX` attributes, `DEPTH_MAX` levels and
    `VALUE_BYTES_MAX` bytes a value are kept. A mapping that needs more than
    ``ATTRIBUTES_BYTES_MAX`` bytes is answered with more bytes than that, which the recorder
    leaves out as a whole.

    >>> encode_attributes({"a": True}).hex()
    '0a070a016112021001'
    """

def looks_secret(key: str) -> bool:
    """Whether a value under ``key`` is to be masked.

    >>> [looks_secret(k) for k in ("db.password", "apiKey", "auth_token", "authToken")]
    [True, True, True, True]
    >>> [looks_secret(k) for k in ("author", "tokens_count", "max_tokens", "pinned")]
    [False, False, False, False]
    """
