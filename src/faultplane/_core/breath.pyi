"""In-flight slots: what each operation of this process is doing, readable after its death."""

from .memory import Mapping

def install_fatal_handler(breath_fd: int, breath: Mapping) -> None:
    """Write the FATAL slot of ``breath`` when a fatal signal comes."""

def rearm_fatal_handler() -> None:
    """Put the handler back in front of those that were installed since."""
