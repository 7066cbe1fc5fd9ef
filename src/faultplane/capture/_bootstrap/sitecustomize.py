"""Runs at the start of every Python process below ``faultplane run``, before the program.

``faultplane run`` puts this directory first on PYTHONPATH, and ``site`` imports the first
``sitecustomize`` it finds. So this file may be read by any interpreter, old ones and ones without
faultplane included: it uses nothing newer than Python 3.4. It says nothing unless
FAULTPLANE_RUN_VERBOSE is set, with one exception: where the program itself cannot be recorded, its
user hears it. It reads the environment itself because the module that normally does may not be
there.
"""

import os
import sys


def _leave_path():
    """Take this directory off sys.path, so that the program finds its path as it would be."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]


def _import_next():
    """Import the sitecustomize that would have been imported without us, if there is one.

    What it raises is raised to ``site``, which reports it as it always does.
    """
    own = sys.modules.pop("sitecustomize", None)
    try:
        import sitecustomize  # noqa: F401
    except ImportError as error:
        if getattr(error, "name", None) != "sitecustomize":
            raise
        if own is not None:
            sys.modules["sitecustomize"] = own


def _is_set(name):
    """Whether a variable is there and is not 0."""
    return os.environ.get(name, "0") not in ("", "0")


def _say(text):
    """One line on stderr, if asked for."""
    if _is_set("FAULTPLANE_RUN_VERBOSE") and sys.stderr is not None:
        sys.stderr.write("faultplane run: pid {}: {}\n".format(os.getpid(), text))


def _say_failed(why):
    """Why nothing is recorded, if asked for or if this is the program and not a child of it."""
    text = "not recording: {} in {}".format(why, sys.executable)
    if _is_set("FAULTPLANE_RUN_VERBOSE"):
        _say(text)
    elif (
        os.environ.get("FAULTPLANE_RUN_PID") == str(os.getpid())
        and not _is_set("FAULTPLANE_DISABLED")
        and sys.stderr is not None
    ):
        sys.stderr.write("faultplane: {}\n".format(text))


def _start():
    """Begin recording in this process; whatever goes wrong, the program must run."""
    if sys.version_info < (3, 11):
        _say_failed("faultplane needs Python 3.11, this is {}.{}".format(*sys.version_info))
        return
    try:
        from faultplane.capture.run import start

        said = start()
    except Exception as error:  # what is said of it is all that may come of it
        _say_failed(str(error) or type(error).__name__)
        return
    _say(said)


_leave_path()
try:
    # Theirs first, so that our hooks chain to what it installs and not the other way round.
    _import_next()
finally:
    _start()
