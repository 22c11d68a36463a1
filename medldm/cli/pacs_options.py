"""Options of the commands that speak with an archive; the only ones that touch the network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medldm.errors import UsageError

if TYPE_CHECKING:
    from medldm.pacs.address import Tls
    from medldm.pacs.messages import Peer
    from medldm.pacs.web import Web

_TLS = "PEM file"
Calling = Annotated[
    str, typer.Option("--calling", envvar="MEDLDM_AE_TITLE", help="What we call ourselves (application entity title).")
]
UseTls = Annotated[bool, typer.Option("--tls", help="Encrypt the association; certificates are checked.")]
TlsCa = Annotated[Path | None, typer.Option("--tls-ca", envvar="MEDLDM_TLS_CA", help=f"{_TLS} of trusted authorities.")]
TlsCert = Annotated[
    Path | None, typer.Option("--tls-cert", envvar="MEDLDM_TLS_CERT", help=f"{_TLS} of our own certificate.")
]
TlsKey = Annotated[Path | None, typer.Option("--tls-key", envvar="MEDLDM_TLS_KEY", help=f"{_TLS} of its key.")]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", help="File of the DICOMweb token; or the variable MEDLDM_DICOMWEB_TOKEN."),
]


def partner(
    node: str | None,
    url: str | None,
    names: tuple[str, str],
    *,
    calling: str,
    tls: bool,
    ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    token_file: Path | None,
) -> Peer | Web:
    """Whom to speak with, by messages or DICOMweb.

    Args:
        node: ``AE@HOST:PORT``.
        url: of a DICOMweb service.
        names: of the two options, for messages.
        calling: our application entity title.
        tls: whether to encrypt an association.
        ca: trusted authorities.
        certificate: our own.
        key: of our own.
        token_file: of the DICOMweb token.

    Raises:
        UsageError: E-CLI-06 none of the two or both, a title that is none, a token that cannot be read.
    """
    import os

    from medldm.pacs.address import Node, Tls, check_web
    from medldm.pacs.messages import Peer
    from medldm.pacs.web import Web

    if (node is None) == (url is None):
        raise UsageError("E-CLI-06", f"Name the archive once: {names[0]} or {names[1]}.", fix="medldm fetch --help")
    files: Tls = Tls(ca, certificate, key)
    if node is not None:
        if not 0 < len(calling.strip()) <= 16:
            raise UsageError("E-CLI-06", f"--calling {calling!r} is no title.", fix="1 to 16 characters.")
        return Peer(Node.parse(node), calling.strip(), files if tls else None)
    token = os.environ.get("MEDLDM_DICOMWEB_TOKEN") or None
    if token_file is not None:
        try:
            token = token_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError("E-CLI-06", "The file of the token cannot be read.", fix="Check --token-file.") from error
    return Web(check_web(str(url), token), token, files)
