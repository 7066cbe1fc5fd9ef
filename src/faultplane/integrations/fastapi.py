"""FastAPI: as Starlette, which it is made of.

>>> from fastapi import FastAPI
>>> from faultplane.integrations import fastapi as faultplane_fastapi
>>> app = FastAPI()
>>> faultplane_fastapi.install(app)
"""

from __future__ import annotations

from fastapi import FastAPI

from faultplane.integrations import starlette
from faultplane.integrations.starlette import install

__all__ = ["install", "wire"]


def wire() -> None:
    """Observe the requests of every application of this process."""
    starlette.wire(FastAPI)
