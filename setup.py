"""Build of the compiled core; everything else about the distribution is in pyproject.toml.

Three variables decide (``docs/environment.md``): ``FAULTPLANE_SKIP_CORE=1`` leaves the compiled
core out, ``FAULTPLANE_REQUIRE_CORE=1`` makes its failure one of the installation, and
``FAULTPLANE_DEBUG=1`` builds it checked. Otherwise a core that cannot be compiled is left out
whole: half a core is a broken build, which `faultplane._backend` refuses to run.
"""

from __future__ import annotations

import os
import sys
from multiprocessing import get_start_method
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
CORE = Path("src/faultplane/_core")
JOBS = 2


def _asked(name: str) -> bool:
    """Whether the build variable ``name`` is ``1``; anything but ``0``, ``1`` or "" is refused."""
    value = os.environ.get(name, "")
    if value not in {"", "0", "1"}:
        raise SystemExit(f"{name} must be 0 or 1, got {value!r}")
    return value == "1"


REQUIRE_CORE = _asked("FAULTPLANE_REQUIRE_CORE")
SKIP_CORE = _asked("FAULTPLANE_SKIP_CORE")
DEBUG = _asked("FAULTPLANE_DEBUG")

DIRECTIVES = {
    "language_level": 3,
    "binding": False,
    "embedsignature": True,
    "freethreading_compatible": False,
    "wraparound": False,
    "cdivision": True,
    "boundscheck": DEBUG,
    "initializedcheck": DEBUG,
    "nonecheck": DEBUG,
}
COMMON_FLAGS = ["-std=gnu11", "-fvisibility=hidden"]
RELEASE_FLAGS = ["-O2", "-g0", *(["-fno-plt"] if sys.platform == "linux" else [])]
DEBUG_FLAGS = ["-O0", "-g3", "-UNDEBUG", "-Wall", "-Wextra", "-Werror"]
# What Cython's own output does, whatever is written in the .pyx.
CYTHON_NOISE = [
    "-Wno-unused-parameter",
    "-Wno-missing-field-initializers",
    "-Wno-cast-function-type",
]


def core_modules() -> list[str]:
    """Names of the modules of the compiled core: one for each ``.pyx``."""
    return sorted(path.stem for path in (ROOT / CORE).glob("*.pyx"))


def extensions() -> list[Extension]:
    """One extension a module, rebuilt when any header or declaration changes."""
    if SKIP_CORE or os.name != "posix":
        return []
    shared = sorted(
        str(path.relative_to(ROOT))
        for pattern in ("*.pxd", "*.h")
        for path in (ROOT / CORE).glob(pattern)
    )
    return [
        Extension(
            f"faultplane._core.{name}",
            sources=[str(CORE / f"{name}.pyx")],
            depends=shared,
            include_dirs=[str(CORE)],
            define_macros=[("FAULTPLANE_DEBUG", "1")] if DEBUG else [],
            extra_compile_args=COMMON_FLAGS
            + (DEBUG_FLAGS + CYTHON_NOISE if DEBUG else RELEASE_FLAGS),
            optional=not REQUIRE_CORE,
        )
        for name in core_modules()
    ]


class BuildCore(build_ext):
    """Translates with Cython outside ``src``, compiles in parallel, keeps all or nothing."""

    def initialize_options(self) -> None:
        """Compile as many files at once as there are jobs."""
        super().initialize_options()
        self.parallel = min(JOBS, os.cpu_count() or 1)

    def build_extensions(self) -> None:
        """Translate and compile every module, or leave the compiled core out."""
        if not self.extensions:
            return
        recipe = repr((DIRECTIVES, [ext.extra_compile_args for ext in self.extensions]))
        note = Path(self.build_temp) / "recipe"
        # Dates do not show that a flag or directive changed; what was built with others goes.
        self.force = bool(self.force) or not note.exists() or note.read_text() != recipe
        note.unlink(missing_ok=True)
        self._translate()
        super().build_extensions()
        outputs = [Path(self.get_ext_fullpath(ext.name)) for ext in self.extensions]
        missing = [
            ext.name
            for ext, path in zip(self.extensions, outputs, strict=True)
            if not path.exists()
        ]
        if not missing:
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(recipe)
            return
        for path in outputs:
            path.unlink(missing_ok=True)
        print(
            f"faultplane: the compiled core is left out ({', '.join(missing)} could not be "
            "compiled); the pure-Python core runs instead. Install a C compiler and the Python "
            "headers, or set FAULTPLANE_REQUIRE_CORE=1 to see this as an error.",
            file=sys.stderr,
        )

    def _translate(self) -> None:
        """Turn each ``.pyx`` into C under ``build/cython``, leaving ``src`` as it is."""
        from Cython.Build import cythonize

        flavour = "debug" if DEBUG else "release"
        translated = cythonize(
            self.extensions,
            build_dir=f"build/cython-{flavour}",
            compiler_directives=DIRECTIVES,
            include_path=["src"],
            nthreads=self.parallel if get_start_method() == "fork" else 0,
            emit_linenums=DEBUG,
            force=self.force,
        )
        by_name = {ext.name: ext for ext in translated}
        for ext in self.extensions:
            ext.sources = by_name[ext.name].sources
            ext.depends = by_name[ext.name].depends + ext.depends


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildCore})
