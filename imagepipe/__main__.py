"""The door: `python -m imagepipe` and the `imagepipe` script.

`--version` is answered here, before anything is imported that costs time.
"""

import gc
import signal
import sys

__all__ = ["main"]

# What a command imports are some hundred thousand objects and no garbage: looking for it again and again, and once
# more at the end, is a sixth of the time that `imagepipe verify` takes.
_OBJECTS_BETWEEN_LOOKS = 50_000


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    if sys.argv[1:] in (["--version"], ["-V"]):
        from imagepipe import __version__

        sys.stdout.write(f"imagepipe {__version__}\n")
        return
    # httpx brings a command line of its own, with a highlighter for every language: a tenth of a second for nothing.
    sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # what Python itself keeps for "not to be had"
    from imagepipe.cli.main import leave, run

    # What cancels a CI job: it ends as with Ctrl-C, and lets go what it holds on targets.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    gc.set_threshold(_OBJECTS_BETWEEN_LOOKS)
    code = run(sys.argv[1:])
    gc.freeze()
    leave(code)


if __name__ == "__main__":
    main()
