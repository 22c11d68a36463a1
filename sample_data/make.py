"""Make the sample scans: ``python sample_data/make.py`` writes the same voxels each time.

Another seed gives another person: ``python sample_data/make.py --seed 7 --out somewhere --lesions 6``.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import numpy as np
from phantoms.brain import brain
from phantoms.chest import TISSUES as CT_TISSUES
from phantoms.chest import chest
from phantoms.contrasts import TISSUES as MR_TISSUES
from phantoms.contrasts import Contrast, contrast, signal
from phantoms.write import write_dicom_series, write_json, write_nifti

SEED = 1
# Stored value of a signal of one: the brightest tissue of each contrast but the skin's fat fits into eight bits.
GAINS: dict[Contrast, float] = {"t1w": 290.0, "t2w": 330.0, "flair": 640.0}

log = logging.getLogger("sample_data")


def make_brain(out: Path, seed: int, lesions: int) -> dict[str, object]:
    """Write the MR contrasts of one head and return its truth."""
    maps = brain(seed, lesions=lesions)
    for name, gain in GAINS.items():
        path = out / f"brain-{name}.nii.gz"
        write_nifti(path, contrast(maps, name), maps.affine, gain, f"medldm synthetic brain phantom {name} seed {seed}")
        log.info("%s  %.2f MB", path, path.stat().st_size / 1e6)
    voxel_ml = abs(float(np.linalg.det(maps.affine[:3, :3]))) / 1000
    return {
        "seed": seed,
        "lesions": lesions,
        "signal": {
            name: {t: round(gain * signal(tissue, name), 2) for t, tissue in MR_TISSUES.items()}
            for name, gain in GAINS.items()
        },
        "volume_ml": {t: round(float(maps[t].sum(dtype=np.float64)) * voxel_ml, 1) for t in maps.names},
    }


def make_chest(out: Path, seed: int) -> dict[str, object]:
    """Write the CT series of one chest and return its truth."""
    made = chest(seed)
    folder = out / "chest-ct"
    write_dicom_series(folder, made, seed)
    size = sum(f.stat().st_size for f in folder.iterdir())
    log.info("%s  %.2f MB in %d slices", folder, size / 1e6, len(made.hu))
    return {
        "seed": seed,
        "hu": {name: mean for name, (mean, _) in CT_TISSUES.items()},
        "volume_ml": made.volumes_ml,
        "nodules": [{"centre_lps_mm": n.centre, "radius_mm": n.radius, "tissue": n.tissue} for n in made.nodules],
    }


def main(arguments: list[str] | None = None) -> None:
    """Write all samples into a folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write into")
    parser.add_argument("--seed", type=int, default=SEED, help="of the person")
    parser.add_argument("--lesions", type=int, default=0, help="number of lesions in the white matter")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options.out.mkdir(parents=True, exist_ok=True)
    truth = {
        "brain": make_brain(options.out, options.seed, options.lesions),
        "chest": make_chest(options.out, options.seed),
    }
    write_json(options.out / "truth.json", truth)


if __name__ == "__main__":
    main()
