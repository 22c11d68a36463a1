"""``medldm fetch``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medldm.cli import options, pacs_options
from medldm.cli.session import finish


def command(
    out: Annotated[Path, typer.Option("--out", "-o", help="New folder for the files; it appears whole or not at all.")],
    study: Annotated[str, typer.Option("--study", help="Study UID.")],
    series: Annotated[str | None, typer.Option("--series", help="One series UID of it.")] = None,
    source: Annotated[str | None, typer.Option("--from", help="AE@HOST:PORT, asked by C-FIND and C-GET.")] = None,
    web: Annotated[str | None, typer.Option("--web", help="Root of a DICOMweb service (QIDO-RS, WADO-RS).")] = None,
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
    """Fetch a study from an archive of the hospital.

    Examples:
        medldm fetch --from ARCHIVE@pacs.example:11112 --study 1.2.840.1 -o study

        medldm fetch --web https://pacs.example/dicom-web --study 1.2.840.1 --series 1.2.840.1.2 -o series
    """

    def work() -> None:
        import json
        import sys

        from medldm.cli.transfer import counting
        from medldm.pacs import messages
        from medldm.pacs import web as dicomweb
        from medldm.pacs.address import check_uid

        uids = check_uid(study, "study"), None if series is None else check_uid(series, "series")
        whom = pacs_options.partner(
            source,
            web,
            ("--from", "--web"),
            calling=calling,
            tls=tls,
            ca=tls_ca,
            certificate=tls_cert,
            key=tls_key,
            token_file=token_file,
        )
        with counting("fetched", quiet=quiet or as_json) as tell:
            if isinstance(whom, messages.Peer):
                came = messages.fetch(whom, *uids, out, tell)
            else:
                came = dicomweb.fetch(whom, *uids, out, tell)
        if as_json:
            told = {"event": "fetched", "objects": came.count, "path": str(out), "remarks": came.remarks}
            sys.stdout.write(json.dumps(told) + "\n")
            return
        for remark in came.remarks:
            typer.echo(f"warning {remark}", err=True)
        if not quiet:
            typer.echo(f"{came.count} objects in {out}; medldm inspect {out} lists the series")

    finish(work, as_json=as_json, verbose=verbose)
