"""A small true copy of the world on one machine: engines, VCHs, Harbor and Sigstore, from real parts."""

import importlib.util
import sys

# httpcore imports it anew at each lock that a request takes: Python searches its whole path each time, for 70 µs.
# Source: httpcore 1.0.9 _synchronization.py current_async_library.
if importlib.util.find_spec("sniffio") is None:
    sys.modules["sniffio"] = None  # type: ignore[assignment] # what Python itself keeps for "not to be had"
# httpx brings a command line of its own, with a highlighter for every language: 50 ms of each stand-in's start.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # as the program does
