"""``medldm view``: volumes at full size for the browser of this computer, and for nobody else.

The server listens on the loopback address only. Every address begins with a random word, so that another user or
program of the computer cannot guess it, and the name by which it is asked for is compared, so that no page of another
site reaches it by a name of its own (DNS rebinding). It serves the files below and nothing that a request names.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self

import nibabel as nib
import numpy as np

from medldm.data import Volume
from medldm.errors import UsageError
from medldm.host import Host
from medldm.pipeline.maps import PRIOR_SHARE, SPREAD
from medldm.pipeline.pictures import Picture, Pictures
from medldm.pipeline.reading import read_image
from medldm.report.page import read_folder, title_of
from medldm.report.templating import inline, notices, policy, render, source
from medldm.report.viewer import json_island, nifti, ordered, shown_as, viewer_code

_LOOPBACK = "127.0.0.1"
# Images that reconstruct writes at full size, by the stem of their files; the others are served reduced.
_STEMS = {
    "reconstruction": "reconstruction",
    SPREAD: "reconstruction-spread",
    PRIOR_SHARE: "reconstruction-prior-share",
}


@dataclass(frozen=True)
class _Content:
    kind: str
    data: bytes


class Server:
    """A running server; a context manager that ends it.

    Args:
        contents: what it serves, by the last part of the address; ``""`` is the page.
        token: the random word.
        port: 0 takes a free one.
    """

    def __init__(self, contents: dict[str, _Content], token: str, port: int) -> None:
        try:
            self._server = ThreadingHTTPServer((_LOOPBACK, port), _handler(contents, token))
        except OSError as error:
            raise UsageError(
                "E-VIEW-01",
                f"Port {port} of this computer cannot be used: {error.strerror}.",
                fix="Leave out --port to take a free one.",
            ) from error
        self._server.daemon_threads = True
        self.address = f"http://{_LOOPBACK}:{self._server.server_port}/{token}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(self) -> None:
        """Until Ctrl-C."""
        self._thread.join()


def serve(host: Host, folder: Path, port: int = 0) -> Server:
    """A server of the images of an output folder.

    Args:
        host: whose readers read images that were not written as NIfTI.
        folder: of ``medldm reconstruct``.
        port: 0 takes a free one.

    Raises:
        InputRefused: E-REP-01, E-REP-02.
        UsageError: E-VIEW-01 the port is taken.
    """
    record, pictures = read_folder(folder)
    token = secrets.token_urlsafe(24)
    contents = {"niivue.js": _Content("text/javascript", viewer_code().text.encode())}
    volumes = []
    for name, one in ordered(pictures):
        full = _full_size(host, folder, name)
        contents[f"{name}.nii"] = _Content("application/octet-stream", full or _reduced(one, pictures))
        volumes.append({**shown_as(name, one), "url": f"{name}.nii", "reduced": full is None})
    style, script = source("style.css"), source("viewer.js")
    page = render(
        "view.html",
        {
            "policy": policy([style], [script], connect="'self'", script_from="'self'"),
            "style": inline(style),
            "script": inline(script),
            "code_url": "niivue.js",
            "volumes": json_island({"oriented": pictures.oriented, "volumes": volumes}),
            "notices": notices(bool(record.get("generative")), bool(record.get("simulated"))),
            "title": title_of(record),
            "reduced": [str(one["label"]) for one in volumes if one["reduced"]],
        },
    )
    contents[""] = _Content("text/html; charset=utf-8", page.encode())
    return Server(contents, token, port)


def _full_size(host: Host, folder: Path, name: str) -> bytes | None:
    """The image as NIfTI: the file itself, or what a reader finds in the folder of that name."""
    stem = _STEMS.get(name)
    if stem is None:
        return None
    file = folder / f"{stem}.nii.gz"
    if file.is_file():
        return file.read_bytes()
    if (folder / stem).is_dir():
        return _as_nifti(read_image(host, folder / stem))
    return None


def _as_nifti(volume: Volume) -> bytes:
    data = np.ascontiguousarray(volume.data.float().numpy().transpose(2, 1, 0))
    return bytes(nib.Nifti1Image(data, volume.grid.nifti_affine).to_bytes())


def _reduced(one: Picture, pictures: Pictures) -> bytes:
    return nifti(one.volume, pictures.affine, one)


def _handler(contents: dict[str, _Content], token: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        server_version, sys_version = "medldm", ""

        def do_GET(self) -> None:
            found = self._asked_for()
            if found is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Type", found.kind)
            self.send_header("Content-Length", str(len(found.data)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("X-Frame-Options", "DENY")
            self.send_header("Cross-Origin-Resource-Policy", "same-origin")
            self.end_headers()
            self.wfile.write(found.data)

        def _asked_for(self) -> _Content | None:
            name = (self.headers.get("Host") or "").rpartition(":")[0]
            parts = self.path.split("/")
            if name not in (_LOOPBACK, "localhost") or len(parts) != 3:
                return None
            if not hmac.compare_digest(parts[1].encode(), token.encode()):
                return None
            return contents.get(parts[2])

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: requests hold the random word."""

    return Handler
