"""Certificates, chains and clocks.

>>> clock("a", datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 1, tzinfo=UTC)).detail
'its clock is 60 min behind ours'
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from imagepipe.doctor.finding import Finding, Level, until
from imagepipe.model.certificate import Certificate, TlsLook

__all__ = ["UTC", "certificate", "clock", "handshake"]

# Signing certificates live ten minutes and identity tokens as little; a host that is off by more than this will refuse
# some of them. Source: Fulcio docs/how-certificate-issuing-works.md (ten minutes).
_SKEW: Final = timedelta(minutes=2)


def handshake(subject: str, look: TlsLook, now: datetime, *, renew: str) -> Iterator[Finding]:
    """Yields what is wrong with a server's TLS, and when its certificate ends."""
    if look.fault is not None:
        yield Finding(subject, "tls", Level.FAIL, look.fault, look.hint)
    elif look.certificate is not None:
        yield Finding(subject, "tls", Level.OK, f"{look.protocol}, signed by {look.certificate.issuer}")
    if look.certificate is not None:
        yield certificate(subject, "server certificate", look.certificate, now, renew=renew)


def certificate(subject: str, check: str, shown: Certificate, now: datetime, *, renew: str) -> Finding:
    """Returns when a certificate ends."""
    level, words = until(shown.not_after, now)
    detail = f"{shown.subject}, signed by {shown.issuer}, {words}"
    return Finding(subject, check, level, detail, None if level is Level.OK else renew)


def clock(subject: str, theirs: datetime, ours: datetime) -> Finding:
    """Returns whether a clock agrees with ours."""
    apart = theirs - ours
    if abs(apart) <= _SKEW:
        return Finding(subject, "clock", Level.OK, "agrees with ours")
    minutes = round(abs(apart).total_seconds() / 60)
    side = "ahead of" if apart > timedelta(0) else "behind"
    return Finding(
        subject,
        "clock",
        Level.WARN,
        f"its clock is {minutes} min {side} ours",
        "set both by NTP: certificates, tokens and records are held against the time",
    )
