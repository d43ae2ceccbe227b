"""Notices that a host is gone: a pull may be silent for half an hour, and so is a network that was cut.

>>> any(option == socket.SO_KEEPALIVE for _, option, _ in probes(10.0))
True
"""

import socket
from collections.abc import Callable
from typing import Any, Final

from requests.adapters import HTTPAdapter

from imagepipe.engine.whole import Until, pools

__all__ = ["KeepaliveAdapter", "probes"]

# A packet or two may be lost; the host's kernel answers these, however busy its engine is. Source: tcp(7).
_PROBES: Final = 3


class KeepaliveAdapter(HTTPAdapter):
    """A transport whose connections end when the host's kernel answers nothing any more.

    Args:
        answer_s: Longest time that a host which is there takes to answer one packet, in seconds.
        until: The moment up to which answers are read.
        check: Raises where a connection over TLS may not be used, before it carries anything.
    """

    def __init__(self, answer_s: float, until: Until, *, check: Callable[[socket.socket], None] | None = None) -> None:
        self._answer_s = answer_s
        self._until = until
        self._check = check
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Makes the pools, with our socket options beside those that they have by themselves."""
        super().init_poolmanager(*args, **kwargs, socket_options=probes(self._answer_s))
        self.poolmanager.pool_classes_by_scheme = pools(self._until, self._check)


def probes(answer_s: float) -> list[tuple[int, int, int]]:
    """Returns socket options that break a connection once the host has answered nothing for four times `answer_s`.

    Source: tcp(7) TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, and TCP_USER_TIMEOUT for what was sent and not received;
    some systems lack some of them.
    """
    wait_s = max(1, round(answer_s))
    wanted = {
        "TCP_KEEPIDLE": wait_s,
        "TCP_KEEPINTVL": wait_s,
        "TCP_KEEPCNT": _PROBES,
        "TCP_USER_TIMEOUT": (_PROBES + 1) * wait_s * 1000,
    }
    there = [
        (socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in wanted.items() if hasattr(socket, name)
    ]
    return [
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),  # as urllib3 does by itself
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        *there,
    ]
