"""A PostgreSQL server on loopback."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import tempfile
from typing import Any, Self

from origin import closed_port

# Debian keeps servers of several versions apart, and none of them in PATH.
FOLDERS = [
    os.environ.get("PATH", ""),
    *sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True),
]
PROGRAMS = [
    shutil.which(name, path=os.pathsep.join(FOLDERS))
    for name in ("initdb", "postgres", "pg_isready")
]
NOBODY = 65_534
SECONDS_MAX = 60


class Server:
    """A process of its own, of a user who is not root, with its data in a directory of its own."""

    def __init__(self) -> None:
        self.port = closed_port()
        # Not below a directory of pytest's, which other users may not enter.
        self._directory = tempfile.mkdtemp(prefix="faultplane-postgres-", dir="/tmp")
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            os.chown(self._directory, NOBODY, NOBODY)
            self._user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        initdb, postgres, is_ready = PROGRAMS
        self._options: dict[str, Any] = {
            "cwd": self._directory,
            "env": {**os.environ, "HOME": self._directory, "LC_ALL": "C"},
            **self._user,
        }
        words = [initdb, "-D", "data", "-U", "shop", "-A", "trust", "-N", "-E", "UTF8"]
        made: Any = subprocess.run  # with one of its many signatures
        made(words, check=True, capture_output=True, **self._options)
        words = [postgres, "-D", "data", "-p", str(self.port), "-k", self._directory]
        words += ["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"]
        self.url = f"shop@127.0.0.1:{self.port}/postgres"
        self._log = open(os.path.join(self._directory, "log"), "wb")  # noqa: SIM115
        self._process = subprocess.Popen(  # type: ignore[call-overload]
            words, stdout=self._log, stderr=self._log, **self._options
        )
        words = [is_ready, "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(words).returncode:  # type: ignore[arg-type]
            assert self._process.poll() is None, self._directory

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(SECONDS_MAX)
        self._log.close()
        shutil.rmtree(self._directory)
