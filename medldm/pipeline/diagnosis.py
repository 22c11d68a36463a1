"""What ``medldm doctor`` looks at."""

from __future__ import annotations

import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch

import medldm
from medldm.host import Host
from medldm.pipeline.memory import available_bytes, in_words

# Packages that extend what medldm reads or writes, the extra that installs them, and what for.
_OPTIONAL = (
    ("python-gdcm", "codecs", "JPEG and JPEG-LS compressed DICOM"),
    ("pylibjpeg-openjpeg", "codecs", "JPEG 2000 compressed DICOM"),
    ("highdicom", "dicom", "parametric maps"),
    ("pynetdicom", "dicom", "archives by DICOM messages (fetch --from, send --to)"),
    ("dicomweb-client", "dicom", "archives by DICOMweb (fetch --web, send --stow)"),
)


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis."""

    check: str
    status: Literal["ok", "note", "problem"]
    finding: str
    advice: str = ""


def diagnose(host: Host) -> list[Finding]:
    """All findings; nothing is changed and no network is touched."""
    return [*_machine(), *_packages(), *_plugins(host)]


def _machine() -> list[Finding]:
    findings = [
        Finding("medldm", "ok", f"{medldm.__version__}, Python {platform.python_version()}, {platform.system()}"),
        Finding("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads"),
    ]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            findings.append(Finding(f"cuda:{index}", "ok", f"{properties.name}, {in_words(properties.total_memory)}"))
    else:
        findings.append(Finding("CUDA", "note", "no device", "Everything runs on the CPU, more slowly."))
    memory = available_bytes()
    if memory is not None:
        small = memory < 4 * 2**30
        findings.append(
            Finding(
                "memory",
                "note" if small else "ok",
                f"{in_words(memory)} free",
                "Use --slices for large volumes." if small else "",
            )
        )
    free = shutil.disk_usage(Path.cwd()).free
    full = free < 2**30
    findings.append(
        Finding("disk", "problem" if full else "ok", f"{in_words(free)} free here", "Free some space." if full else "")
    )
    return findings


def _packages() -> list[Finding]:
    findings = []
    for package, extra, purpose in _OPTIONAL:
        try:
            findings.append(Finding(package, "ok", f"{version(package)}, for {purpose}"))
        except PackageNotFoundError:
            advice = f"pip install 'medldm[{extra}]' if you need it."
            findings.append(Finding(package, "note", f"not installed; it is for {purpose}", advice))
    if find_spec("torchvision") is not None:
        findings.append(Finding("torchvision", "note", "installed; of medldm only the plugin deepinv needs it"))
    return findings


def _plugins(host: Host) -> list[Finding]:
    findings = []
    for row in host.plugins:
        if row.status == "ok":
            findings.append(Finding(f"plugin {row.name}", "ok", f"{row.distribution} {row.version}"))
        else:
            status: Literal["note", "problem"] = "note" if row.status in ("blocked", "absent") else "problem"
            findings.append(Finding(f"plugin {row.name}", status, row.error or row.status, "medldm plugins list"))
    return findings
