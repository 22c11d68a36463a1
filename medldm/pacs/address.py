"""Where a picture archive is, and how to speak with it safely."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from medldm.errors import UsageError

_ADDRESS = re.compile(r"(?P<title>[^@\s\\]{1,16})@(?P<host>\[[0-9A-Fa-f:.]+\]|[^@:\s/]+):(?P<port>\d{1,5})")
_UID = re.compile(r"[0-9.]{1,64}")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Node:
    """A peer of the DICOM protocol.

    Attributes:
        title: its application entity title.
        host: name or number.
        port: of its service.
    """

    title: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Node:
        """``AE@HOST:PORT``.

        Raises:
            UsageError: E-PACS-02.
        """
        found = _ADDRESS.fullmatch(text)
        if found is None or not 0 < int(found["port"]) < 65536:
            raise UsageError(
                "E-PACS-02",
                f"{text!r} is no address of a DICOM node.",
                fix="Write title, host and port: ARCHIVE@pacs.example:11112",
            )
        return cls(found["title"], found["host"].strip("[]"), int(found["port"]))

    def __str__(self) -> str:
        return f"{self.title}@{self.host}:{self.port}"


@dataclass(frozen=True)
class Tls:
    """Encryption of a connection.

    Attributes:
        authorities: file of the certificates that are trusted; None takes those of the system.
        certificate: our own, where the peer asks for one.
        key: of our certificate.
    """

    authorities: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Checks the peer's certificate and name.

        Raises:
            UsageError: E-PACS-03 a file is missing or no certificate.
        """
        try:
            context = ssl.create_default_context(cafile=None if self.authorities is None else str(self.authorities))
            if self.certificate is not None:
                context.load_cert_chain(str(self.certificate), None if self.key is None else str(self.key))
        except (OSError, ssl.SSLError) as error:
            raise UsageError(
                "E-PACS-03",
                f"A certificate or key cannot be used: {error.strerror or type(error).__name__}.",
                fix="Check the files of --tls-ca, --tls-cert and --tls-key.",
            ) from error
        return context


def check_uid(text: str, what: str) -> str:
    """A unique identifier.

    Raises:
        UsageError: E-PACS-02.
    """
    if not _UID.fullmatch(text):
        raise UsageError("E-PACS-02", f"{text!r} is no {what} UID.", fix="A UID is digits and dots, at most 64.")
    return text


def check_web(url: str, token: str | None) -> str:
    """The address of a DICOMweb service; a token does not travel in the clear.

    Raises:
        UsageError: E-PACS-02 no such address, E-PACS-04 a token over plain HTTP to another computer.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
        raise UsageError(
            "E-PACS-02",
            "This is no address of a DICOMweb service.",
            why="Names and passwords in addresses end up in logs.",
            fix="For example: https://pacs.example/dicom-web, with the token in MEDLDM_DICOMWEB_TOKEN.",
        )
    if token and parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise UsageError(
            "E-PACS-04",
            "The token would travel unencrypted.",
            why="Whoever listens on the network could use it.",
            fix="Use an https:// address.",
        )
    return url.rstrip("/")
