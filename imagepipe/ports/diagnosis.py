"""The seams of the doctor: hosts, sites, registries and signers, as one who only looks sees them.

>>> from imagepipe.ports.diagnosis import HostInspector
>>> HostInspector.__name__
'HostInspector'
"""

from datetime import datetime
from typing import Protocol

from imagepipe.model.certificate import Certificate, SiteLook, TlsLook
from imagepipe.model.evidence import Signatory
from imagepipe.model.host import HostFacts
from imagepipe.model.reference import Reference

__all__ = ["HostInspector", "OldClients", "PerishableSigner", "Site"]


class HostInspector(Protocol):
    """A host, as a doctor looks at it."""

    def facts(self) -> HostFacts:
        """Returns what the host tells of itself: clock, networks, volume stores, storage.

        Raises:
            AccessError, UnavailableError: The host refuses us, or is away.
        """
        ...

    def tls(self) -> TlsLook | None:
        """Returns what the host shows in a TLS handshake, and what is wrong with it; None without TLS.

        Raises:
            CredentialsError, SettingsError: Our own files are not usable.
            UnavailableError: Nobody answers.
        """
        ...

    def own_certificate(self) -> Certificate | None:
        """Returns the certificate that we show; None without TLS; raises as `tls`."""
        ...


class Site(Protocol):
    """Where a registry is served, as a doctor looks at it."""

    def look(self) -> SiteLook:
        """Returns what it shows to nobody in particular.

        Raises:
            SettingsError: The CA file is not usable.
            UnavailableError: Nobody answers.
        """
        ...


class OldClients(Protocol):
    """A registry, as clients from before schema 2 see it: every VCH is one."""

    def served(self, reference: Reference) -> str:
        """Returns the media type of what they are given for a tag; "" for nothing.

        Raises:
            AccessError, RefusedError, UnavailableError: The registry says no, or is away.
        """
        ...


class PerishableSigner(Protocol):
    """A signer, as a doctor looks at it."""

    def signatory(self) -> Signatory:
        """Returns who would sign; raises as `Signer.signatory`."""
        ...

    def expires_at(self) -> datetime | None:
        """Returns when its identity ends, aware; None where it does not; raises as `Signer.signatory`."""
        ...
