"""The last breath: in-flight slots (breath.h) and the slot that a fatal signal fills (fatal.h)."""

def install_fatal_handler() -> None:
    """Keep signal, time, thread and frames where SIGSEGV, SIGBUS, SIGFPE, SIGILL or SIGABRT comes.

    They go to the fatal slot of the domain that this process is bound to, now or later. What was
    installed before is called in its turn, so that exit status, core dump and other crash reporters
    stay what they were. Idempotent; called again after a server has replaced handlers, it stands
    in front of them. The pure core has faulthandler write the frames, unless the application uses
    that for itself, and knows nothing else of the signal.
    """

def rearm_fatal_handler() -> None:
    """Put the handler, where it is installed, back in front of those that came later."""
