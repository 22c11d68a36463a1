"""``medldm send``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medldm.cli import options, pacs_options
from medldm.cli.session import finish


def command(
    path: Annotated[Path, typer.Argument(help="Output folder of `medldm reconstruct`, or DICOM files.")],
    to: Annotated[str | None, typer.Option("--to", help="AE@HOST:PORT, by C-STORE.")] = None,
    stow: Annotated[str | None, typer.Option("--stow", help="Root of a DICOMweb service (STOW-RS).")] = None,
    calling: pacs_options.Calling = "MEDLDM",
    tls: pacs_options.UseTls = False,
    tls_ca: pacs_options.TlsCa = None,
    tls_cert: pacs_options.TlsCert = None,
    tls_key: pacs_options.TlsKey = None,
    token_file: pacs_options.TokenFile = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
) -> None:
    """Send the DICOM series of a result to an archive of the hospital; sending twice leaves one copy.

    Examples:
        medldm send out --to ARCHIVE@pacs.example:11112

        medldm send out --stow https://pacs.example/dicom-web --token-file token
    """

    def work() -> None:
        import json
        import sys

        from medldm.cli.transfer import counting
        from medldm.pacs import messages
        from medldm.pacs import web as dicomweb
        from medldm.pacs.results import dicom_files

        files = dicom_files(path)
        whom = pacs_options.partner(
            to,
            stow,
            ("--to", "--stow"),
            calling=calling,
            tls=tls,
            ca=tls_ca,
            certificate=tls_cert,
            key=tls_key,
            token_file=token_file,
        )
        with counting("sent", quiet=quiet or as_json) as tell:
            if isinstance(whom, messages.Peer):
                count = messages.send(whom, files, tell)
            else:
                count = dicomweb.send(whom, files, tell)
        if as_json:
            sys.stdout.write(json.dumps({"event": "sent", "objects": count}) + "\n")
        elif not quiet:
            typer.echo(f"{count} objects sent")

    finish(work, as_json=as_json, verbose=verbose)
