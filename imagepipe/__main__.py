"""The door: `python -m imagepipe` and the `imagepipe` script.

`--version` is answered here, before anything is imported that costs time.
"""

import gc
import io
import os
import signal
import sys
import time
from types import FrameType

__all__ = ["main"]

# What a command imports are some hundred thousand objects and no garbage: looking for it again and again, and once
# more at the end, is a sixth of the time that `imagepipe verify` takes.
_OBJECTS_BETWEEN_LOOKS = 50_000
# Before these do anything else they wait until signatures can be proven: half of that goes on beside them.
_PROVING = ("promote", "rollback", "verify")
# What they and their worker take long to import: once, before they part.
_BOTH = ("pydantic.main", "pydantic.types")
# A cancelled job, a terminal that is closed.
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Whoever stops a job often says so twice in a breath: make, npm and docker pass on what the terminal tells all of them.
# That long the second word changes nothing, or it would stop what lets go of locks on targets. GitHub's runner says it
# again after 7.5 s, and kills 2.5 s later. Source: actions/runner src/Runner.Sdk/ProcessInvoker.cs.
_SAID_ONCE_S = 5.0


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    _ready_streams()
    if sys.argv[1:] in (["--version"], ["-V"]):
        from imagepipe import __version__

        sys.stdout.write(f"imagepipe {__version__}\n")
        return
    if hasattr(signal, "SIGCHLD"):
        # Who starts us may ignore it, and that is inherited: no process of ours would tell how it ended, git neither.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # httpx brings a command line of its own, with a highlighter for every language: a tenth of a second for nothing.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # what Python itself keeps for "not to be had"
    gc.set_threshold(_OBJECTS_BETWEEN_LOOKS)
    # pydantic would look through every installed package for plugins of its own, and let them into all that is parsed.
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    proving = "".join(sys.argv[1:2]) in _PROVING and "--help" not in sys.argv
    try:
        if proving:
            from importlib import import_module

            from imagepipe.signing import worker

            for name in _BOTH:
                import_module(name)
            if worker.begin():
                return
        from imagepipe.cli.main import leave, run
    except KeyboardInterrupt:
        _interrupted()
        return

    _heed_signals()
    code = run(sys.argv[1:])
    if proving:
        worker.end()
    gc.freeze()
    leave(code)


def _ready_streams() -> None:
    """Lets what was closed by whoever started us lead nowhere: else the next file that is opened takes its place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 # as long as we live
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: what a terminal cannot show is no failure


def _heed_signals() -> None:
    """Lets what cancels a job end it as Ctrl-C does, and let go what it holds; what is ignored stays so."""
    said_at = -_SAID_ONCE_S

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal said_at
        del number, frame
        now = time.monotonic()
        if now - said_at >= _SAID_ONCE_S:
            said_at = now
            raise KeyboardInterrupt

    for number in _STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


def _interrupted() -> None:
    """Ends the process as any command does that is interrupted; none has begun yet."""
    from imagepipe.cli.session import Session
    from imagepipe.errors import InterruptedByUserError
    from imagepipe.signing import worker

    worker.end()
    stopped = InterruptedByUserError("interrupted", hint="run the same command again; nothing was begun")
    Session(as_json="--json" in sys.argv).fail(stopped)
    sys.exit(stopped.exit_code)


if __name__ == "__main__":
    main()
