"""Inputs of the benchmarks: made from a seed, with nothing but the standard library.

Every function gives the same values for the same arguments, on every machine and in every run.
"""

from __future__ import annotations

import random
import uuid

SEED = 20_240_501

# One shape for each kind of variable part, and some messages without any. About 55 characters.
SHAPES = (
    "the payment gateway did not answer before the deadline",
    "user {number} has no open order in shop {small} of this tenant",
    "connect to {ip}:5432 failed after {small}.25 s",
    "[Errno 111] Connection refused: 'db-{small}.internal:5432'",
    "order {uuid} is locked",
    "no handler for <Request at 0x{hex}> in worker-{small}",
    "cannot open /srv/app/releases/{number}/config.toml, retry",
    "GET https://api.example.com/v1/users/{number} gave 503",
    "'NoneType' object has no attribute 'total_{small}' (line {small})",
    "could not decode byte 0x{byte} at position {number} of the body",
)


def messages(n: int, seed: int = SEED) -> list[str]:
    """``n`` messages as exceptions carry them, 44 to 58 characters, most of them different."""
    source = random.Random(seed)
    return [
        SHAPES[index % len(SHAPES)].format(
            number=source.randrange(10_000, 10_000_000),
            small=source.randrange(100),
            ip=".".join(str(source.randrange(256)) for _ in range(4)),
            hex=f"{source.getrandbits(48):012x}",
            byte=f"{source.getrandbits(8):02x}",
            uuid=uuid.UUID(int=source.getrandbits(128), version=4),
        )
        for index in range(n)
    ]
