"""What tests of the hospital's network share: our commands, and certificates."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from medldm.cli.app import app


def run(*words: object, **how: Any) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words], **how)
    return result.exit_code, result.stdout + result.stderr


def certificate_of_loopback(folder: Path) -> tuple[Path, Path]:
    """A certificate of this computer's loopback address that nobody vouches for, and its key."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("openssl is not installed")
    certificate, key = folder / "peer.pem", folder / "peer.key"
    names = ["-subj", "/CN=peer", "-addext", "subjectAltName=IP:127.0.0.1"]
    new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([program, *new, *names], check=True, capture_output=True)
    return certificate, key
