"""Asking whether a process that was just started answers yet."""

import os
import ssl
import time
from pathlib import Path

import httpx

from imagepipe.errors import UnavailableError
from imagepipe.sandbox.processes import alive
from imagepipe.sandbox.state import ProcessRecord

__all__ = ["failure", "trusting", "wait_for", "wait_listening"]

_PAUSE_S = 0.05
_LISTEN = "0A"  # Source: Linux include/net/tcp_states.h, TCP_LISTEN


def trusting(ca_file: Path, client: Path | None = None) -> ssl.SSLContext:
    """Returns a TLS context that trusts one CA, and shows the client certificate in a `cert_path` if one is given."""
    context = ssl.create_default_context(cafile=str(ca_file))
    if client is not None:
        context.load_cert_chain(client / "cert.pem", client / "key.pem")
    return context


def wait_for(process: ProcessRecord, url: str, *, timeout_s: float, tls: ssl.SSLContext | None = None) -> None:
    """Waits until a process answers at a URL, with whatever status below 500.

    Raises:
        UnavailableError: It ended, or did not answer in time; the message quotes its log.
    """
    deadline, said = time.monotonic() + timeout_s, "nothing"
    with httpx.Client(verify=tls or False, timeout=2.0, trust_env=False) as client:
        while alive(process) and time.monotonic() < deadline:
            try:
                answer = client.get(url)
            except httpx.HTTPError as error:
                said = str(error) or type(error).__name__
            else:
                if answer.status_code < 500:
                    return
                said = f"status {answer.status_code}"
            time.sleep(_PAUSE_S)
    raise failure(process, f"{url}: {said}")


def wait_listening(process: ProcessRecord, port: int, *, timeout_s: float) -> None:
    """Waits until something listens on an IPv4 TCP port in a process's own network namespace.

    Raises:
        UnavailableError: The process ended, or nothing listens in time.
    """
    deadline = time.monotonic() + timeout_s
    while alive(process) and time.monotonic() < deadline:
        if port in _listening(process.pid):
            return
        time.sleep(_PAUSE_S)
    raise failure(process, f"port {port}: nothing listens")


def _listening(pid: int) -> set[int]:
    """Returns the ports that are listened on. Source: proc(5), /proc/net/tcp (local_address, st, both hexadecimal)."""
    try:
        rows = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return set()
    return {int(row.split()[1].rpartition(":")[2], 16) for row in rows if row.split()[3] == _LISTEN}


def failure(process: ProcessRecord, what: str) -> UnavailableError:
    """Returns the error of a process that did not come up, with the end of its log."""
    try:
        last = "\n".join(Path(process.log).read_text(errors="replace").splitlines()[-8:])
    except OSError:
        last = ""
    ended = "" if alive(process) else " and has ended"
    if _is_full(Path(process.log).parent):  # then its log may say nothing
        ended, hint = f"{ended}: No space left on device", "make room there, or choose another directory"
    else:
        hint = "see what its log says, above"
    return UnavailableError(f"start {process.name}: {what}{ended}" + (f"\n{last}" if last else ""), hint=hint)


def _is_full(folder: Path) -> bool:
    try:
        return os.statvfs(folder).f_bavail == 0
    except OSError:
        return False
