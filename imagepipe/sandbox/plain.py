"""Connections within the sandbox that are not encrypted: sockets, and HTTP on the loopback."""

import ssl

__all__ = ["trusting_nobody"]


def trusting_nobody() -> ssl.SSLContext:
    """Returns a TLS context for a client that needs none; left to itself, httpx reads every authority of the system."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
