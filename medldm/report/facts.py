"""The numbers of a record in the order of a report, as words; nothing here knows how a page looks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

Rows = list[tuple[str, str]]
Record = Mapping[str, Any]
METRICS = {
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "nrmse": "NRMSE",
    "dz_ratio": "slice change ratio",
    "z_noise_ratio": "z noise ratio",
}


def tiles(record: Record) -> list[tuple[str, str, str]]:
    """The few numbers to see first: value, what it is, and a remark."""
    found = []
    metrics = record.get("metrics", {})
    before, after = metrics.get("baseline", {}), metrics.get("reconstruction", {})
    for name, form in (("psnr", "{:.1f} dB"), ("ssim", "{:.3f}")):
        if name in after:
            remark = f"start image {form.format(before[name])}" if name in before else ""
            found.append((form.format(after[name]), name.upper(), remark))
    chi = [float(value) for value in record.get("chi", [])]
    if chi:
        text = " to ".join(dict.fromkeys((f"{min(chi):.2f}", f"{max(chi):.2f}")))
        found.append((text, "chi, misfit to the data", "1 is what noise alone leaves"))
    energy = [value for value in record.get("uncertainty", {}).get("unmeasured_energy", []) if value is not None]
    if energy:
        found.append((f"{sum(energy) / len(energy):.1%}", "from the prior", "energy that was not measured"))
    if samples := record.get("uncertainty", {}).get("samples"):
        found.append((str(samples), "samples", "the image is their mean"))
    found.append((duration(sum(record.get("seconds", {}).values())), "computing time", str(record.get("device", ""))))
    return found


def metric_rows(record: Record) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Images beside each other: the heads of the columns, and a row of numbers per metric."""
    metrics = record.get("metrics", {})
    images = list(metrics)
    rows = []
    for name, label in METRICS.items():
        if any(name in values for values in metrics.values()):
            rows.append((label, [f"{values[name]:.4g}" if name in values else "" for values in metrics.values()]))
        for plane in ("axial", "coronal", "sagittal"):
            key = f"{name}_{plane}"
            if any(key in values for values in metrics.values()):
                rows.append((f"{label}, {plane}", [f"{v[key]:.4g}" if key in v else "" for v in metrics.values()]))
    return ["start image" if image == "baseline" else image for image in images], rows


def geometry_rows(record: Record) -> list[tuple[str, str, str]]:
    """What, of the scan as it came in, of the image that went out."""
    given, made = record.get("input", {}), record.get("image", {})
    if "shape" not in given:
        given = {**given, **given.get("grid", {})}
    rows = [(label, form(given), form(made)) for label, form in _GEOMETRY.items()]
    return [row for row in rows if row[1] or row[2]]


def _times(values: Sequence[float], digits: int) -> str:
    return " × ".join(f"{float(value):.{digits}g}" for value in values)


def _extent(grid: Record) -> str:
    if "shape" not in grid or "spacing_mm" not in grid:
        return ""
    return _times([n * mm for n, mm in zip(grid["shape"], grid["spacing_mm"], strict=True)], 4) + " mm"


def _corner(grid: Record) -> str:
    if "affine_lps" not in grid:
        return ""
    finest = min(map(float, grid.get("spacing_mm", (1.0,))))
    digits = max(2, 1 - math.floor(math.log10(finest)))  # a tenth of a voxel, which may be of nanometres
    return ", ".join(f"{float(row[3]):.{digits}f}" for row in grid["affine_lps"]) + " mm"


_GEOMETRY: dict[str, Callable[[Record], str]] = {
    "Voxels (z × y × x)": lambda grid: _times(grid["shape"], 6) if "shape" in grid else "",
    "Spacing": lambda grid: _times(grid["spacing_mm"], 4) + " mm" if "spacing_mm" in grid else "",
    "Extent": _extent,
    "Directions of z, y, x": lambda grid: str(grid.get("orientation", "")),
    "First voxel (L, P, S)": _corner,
    "Unit": lambda grid: str(grid.get("quantity", "")),
    "Modality": lambda grid: str(grid.get("modality", "")),
}


def measurement_rows(record: Record) -> Rows:
    """What was measured."""
    told = record.get("acquisition", {})
    rows = [("Physics", str(told.get("physics", ""))), ("Simulated", "yes" if told.get("simulated") else "no")]
    sizes = told.get("measurement", {})
    if sizes:
        rows.append(("Samples", " × ".join(f"{name} {size}" for name, size in sizes.items())))
    if told.get("noise_std") is not None:
        rows.append(("Noise (standard deviation per component)", f"{float(told['noise_std']):.4g}"))
    rows += [(str(name).replace("_", " "), _word(value)) for name, value in told.get("settings", {}).items()]
    return rows


def prior_rows(record: Record) -> Rows:
    """The prior and how it was used; empty without one."""
    prior = record.get("prior", {})
    if not prior:
        return []
    rows = [("Prior", str(prior.get("name", ""))), ("Family", str(prior.get("family", "")))]
    rows.append(("Told of the scan", _word(prior.get("told", {}))))
    intensity = prior.get("intensity", {})
    if "scale" in intensity:
        shift = f" {intensity['offset']:+.4g}" if intensity.get("offset") else ""
        rows.append(
            (
                "Intensity",
                f"{intensity.get('map', '')}: × {intensity['scale']:.6g}{shift} ({intensity.get('rule', '')})",
            )
        )
    room = f", {prior['quadrature']:g} of the prior's unit beside it" if prior.get("quadrature") else ""
    rows.append(("Phase of the image", str(prior.get("phase", "none")) + room))
    rows.append(("Coherence between slices", _word(prior.get("coherence", "none"))))
    if "trial" in prior:
        trial = prior["trial"]
        rows.append(
            (
                "On trial (withheld samples)",
                f"misfit {trial['misfit_to_classical']:.3g} of the classical method's; share of the classical image in "
                f"the result {trial['classical_share']:.0%}",
            )
        )
    rows += [("Remark", str(sentence)) for sentence in prior.get("plan", [])]
    rows.append(("Intended use", str(prior.get("intended_use", ""))))
    return rows


def provenance_rows(record: Record) -> Rows:
    """What is needed to do it again, and to see that it is the same."""
    job, versions = record.get("job", {}), record.get("versions", {})
    rows = [
        ("Made", when(record.get("created", ""))),
        ("medldm", str(versions.get("medldm", ""))),
        ("Recipe", str(record.get("recipe", {}).get("name", ""))),
        ("Recipe, sha256", str(job.get("recipe", ""))),
        ("Input, sha256", str(job.get("case", ""))),
        ("Weights, sha256", str(job.get("weights", ""))),
        ("Seed", str(record.get("seed", ""))),
        ("Device", f"{record.get('device', '')} {record.get('device_name', '')}".strip()),
        ("Threads", str(record.get("threads", ""))),
        ("Peak memory", f"{record.get('peak_memory_bytes', 0) / 2**30:.2f} GiB"),
        ("Time per stage", ", ".join(f"{name} {duration(value)}" for name, value in record.get("seconds", {}).items())),
    ]
    rows += [(name, str(versions[name])) for name in ("python", "platform", "torch", "numpy") if name in versions]
    plugins = versions.get("plugins", {})
    rows.append(("Plugins", ", ".join(f"{name} ({version})" for name, version in plugins.items())))
    return [(label, value) for label, value in rows if value]


def history(record: Record) -> list[str]:
    """What was done to the image, one line each."""
    return [
        " ".join([str(event.get("event", "")), *(f"{k}={_word(v)}" for k, v in event.items() if k != "event")])
        for event in record.get("image", {}).get("history", [])
    ]


def recipe_text(record: Record) -> str:
    """The resolved recipe, indented."""
    recipe = {key: value for key, value in record.get("recipe", {}).items() if key not in ("name", "sha256")}
    return json.dumps(recipe, indent=2)


def duration(seconds: float) -> str:
    """``41 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if not math.isfinite(seconds):
        return ""
    if seconds < 99.5:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{int(seconds) // 60} min {int(seconds) % 60} s"


def when(created: str) -> str:
    """``21 November 2026, 10:12 UTC``; the text itself where it is no time."""
    try:
        return f"{datetime.fromisoformat(str(created)):%d %B %Y, %H:%M %Z}".strip(", ")
    except ValueError:
        return str(created)


def _word(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_word(one)}" for name, one in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_word, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
