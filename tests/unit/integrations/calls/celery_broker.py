"""The broker of Celery's tests: Redis, or files where kombu does not take this redis-py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kombu
from kombu.exceptions import VersionMismatch


def connect(application: Any, url: str, directory: str) -> None:
    """Have an application send its tasks and their results through one of the two."""
    try:
        with kombu.Connection(url) as connection:
            _ = connection.default_channel
        application.conf.update(broker_url=url, result_backend=url)
    except VersionMismatch:
        where = Path(directory)
        for name in ("queue", "control", "results"):
            (where / name).mkdir(exist_ok=True)
        application.conf.update(
            broker_url="filesystem://",
            result_backend=f"file://{where}/results",
            broker_transport_options={
                "data_folder_in": where / "queue",
                "data_folder_out": where / "queue",
                "control_folder": where / "control",
                "polling_interval": 0.05,
            },
        )
