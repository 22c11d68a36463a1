"""DICOMweb services that refuse us: what they are shown, and whom we believe."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from pacs_commands import certificate_of_loopback, run


class _Guarded(BaseHTTPRequestHandler):
    """A service that refuses everybody and remembers what they showed."""

    shown: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.shown.append(str(self.headers.get("Authorization")))
        self.send_error(401)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def _guarded(context: ssl.SSLContext | None = None) -> Iterator[str]:
    """The root of such a service, without its scheme."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Guarded)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that hangs up is no error here
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}/dicom-web"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("elsewhere", [False, True], ids=["system", "environment"])
def test_a_web_service_is_believed_by_the_authorities_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    pytest.importorskip("dicomweb_client")
    certificate, key = certificate_of_loopback(tmp_path)
    (tmp_path / "others").mkdir()
    other, _ = certificate_of_loopback(tmp_path / "others")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(other)) if elsewhere else monkeypatch.delenv(name, raising=False)
    # A password for the host that somebody keeps for other programs is not ours to show.
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login somebody password SECRET-NETRC\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("MEDLDM_DICOMWEB_TOKEN", "SECRET-ENV")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(str(certificate), str(key))
    _Guarded.shown.clear()
    with _guarded(context) as root:
        words = ("fetch", "--web", f"https://{root}", "--study", "1.2.3", "-o", tmp_path / "out")
        assert "E-PACS-06" in run(*words)[1], "nobody vouches for it"
        assert "E-PACS-06" in run(*words, "--tls-ca", other)[1], "another one does not"
        assert _Guarded.shown == [], "so the token was kept back"
        assert "E-PACS-07" in run(*words, "--tls-ca", certificate)[1]
    assert _Guarded.shown == ["Bearer SECRET-ENV"]


def test_a_token_is_shown_to_the_service_and_to_nobody_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("dicomweb_client")
    caplog.set_level(logging.DEBUG)
    _Guarded.shown.clear()
    (tmp_path / "token").write_text("SECRET-FILE\n")
    with _guarded() as root:
        words = ("fetch", "--web", f"http://{root}", "--study", "1.2.3", "-v")
        first = run(*words, "-o", tmp_path / "out", env={"MEDLDM_DICOMWEB_TOKEN": "SECRET-ENV"})
        second = run(*words, "-o", tmp_path / "out", "--token-file", tmp_path / "token")
    assert _Guarded.shown == ["Bearer SECRET-ENV", "Bearer SECRET-FILE"]
    for code, said in (first, second):
        assert code == 1
        assert "E-PACS-07" in said
        assert "SECRET" not in said
    assert "SECRET" not in caplog.text
