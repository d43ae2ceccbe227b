"""Reads the file by which vic-machine tells how a new VCH is reached; Docker's own `export` lines are read too.

>>> variables("DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH=/home/ops/my vch DOCKER_HOST=10.0.0.5:2376")["DOCKER_CERT_PATH"]
'/home/ops/my vch'
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from imagepipe.errors import InputError, NotFoundError

__all__ = ["Address", "read_env", "variables"]

# vic-machine writes one line, parted by blanks, and quotes nothing, not even a path with blanks in it.
# Source: VIC v1.5.8 lib/install/management/inspect.go GetDockerAPICommand
_VARIABLE: Final = re.compile(r"(?:^|(?<=\s))(?:export\s+)?([A-Z][A-Z0-9_]*)=")
_MAX_BYTES: Final = 64 * 1024
_FILES: Final = ("ca.pem", "cert.pem", "key.pem")


@dataclass(frozen=True, slots=True)
class Address:
    """How a host is reached.

    Attributes:
        host: `tcp://host:port` or `unix:///path`.
        cert_path: The folder with ca.pem, cert.pem and key.pem, or None without TLS.
    """

    host: str
    cert_path: Path | None


def read_env(path: Path) -> Address:
    """Returns how the host is reached that such a file speaks of.

    Raises:
        NotFoundError: There is no such file.
        InputError: It cannot be read, or names no DOCKER_HOST.
    """
    try:
        with path.open("rb") as stream:
            told = variables(stream.read(_MAX_BYTES).decode())
    except FileNotFoundError as error:
        raise NotFoundError(f"{path}: no such file", hint="name the .env file that vic-machine wrote") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: cannot be read: {error}", hint="name the .env file that vic-machine wrote"
        ) from error
    host = told.get("DOCKER_HOST")
    if not host:
        raise InputError(
            f"{path}: sets no DOCKER_HOST", hint="name the .env file that vic-machine wrote, or use --host"
        )
    # Source: as above: vic-machine leaves the scheme out.
    host = host if "://" in host else f"tcp://{host}"
    if not told.get("DOCKER_CERT_PATH") and not told.get("DOCKER_TLS_VERIFY"):
        return Address(host, None)
    return Address(host, _certificates(told.get("DOCKER_CERT_PATH"), path.absolute().parent))


def variables(text: str) -> Mapping[str, str]:
    """Returns the variables that a text sets, on one line or on several, with or without `export` and quotes."""
    found = {}
    for line in text.splitlines():
        places = [] if line.lstrip().startswith("#") else list(_VARIABLE.finditer(line))
        ends = [place.start() for place in places[1:]] + [len(line)]
        for place, end in zip(places, ends, strict=False):
            value = line[place.end() : end].strip()
            found[place[1]] = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value
    return found


def _certificates(named: str | None, here: Path) -> Path:
    """Returns the folder that is named, if the files are in it, else the one that the file itself lies in.

    vic-machine names the working directory with the folder's last part, which is another folder as soon as that one
    lies deeper; and it writes the file into the folder of the certificates.
    Source: VIC v1.5.8 lib/install/management/inspect.go (filepath.Abs(info.Name())),
    cmd/vic-machine/common/certificate.go:118 (EnvFile)
    """
    folder = here / Path(named).expanduser() if named else here
    whole = all((folder / name).is_file() for name in _FILES)
    return here if not whole and all((here / name).is_file() for name in _FILES) else folder
