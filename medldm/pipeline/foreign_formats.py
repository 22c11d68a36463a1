"""Formats that no reader understands, known by their endings: what they are, and what makes a scan of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_AS_NIFTI = "write it as NIfTI, with SimpleITK for example"
# Ending -> what it mostly is, and what to do.
_KNOWN: Mapping[str, tuple[str, str]] = {
    ".dat": ("raw data of a Siemens scanner (TWIX)", "convert it with siemens_to_ismrmrd"),
    ".7": ("raw data of a GE scanner (P-file)", "convert it with ge_to_ismrmrd"),
    ".lab": ("raw data of a Philips scanner", "convert it with philips_to_ismrmrd"),
    ".list": ("raw data of a Philips scanner", "convert it with philips_to_ismrmrd"),
    ".data": ("raw data of a Philips scanner", "convert it with philips_to_ismrmrd"),
    ".raw": ("raw samples without a header", "store the array as NAME.npy, described by NAME.json"),
    ".mat": ("a MATLAB file", "store the array as NAME.npy, described by NAME.json, or the image as NIfTI"),
    ".par": ("a Philips image", "convert it to NIfTI with dcm2niix"),
    ".rec": ("a Philips image", "convert it to NIfTI with dcm2niix"),
    ".mgz": ("a FreeSurfer volume", "convert it to NIfTI with mri_convert"),
    ".mgh": ("a FreeSurfer volume", "convert it to NIfTI with mri_convert"),
    ".mha": ("a MetaImage", _AS_NIFTI),
    ".mhd": ("a MetaImage", _AS_NIFTI),
    ".nrrd": ("an NRRD image", _AS_NIFTI),
    ".nhdr": ("an NRRD image", _AS_NIFTI),
    ".mnc": ("a MINC image", "convert it with mnc2nii"),
    ".png": ("a picture, without the size of its voxels", "write the image as NIfTI, with its spacing"),
    ".jpg": ("a picture, without the size of its voxels", "write the image as NIfTI, with its spacing"),
    ".tif": ("a picture, without the size of its voxels", "write the image as NIfTI, with its spacing"),
    ".tiff": ("a picture, without the size of its voxels", "write the image as NIfTI, with its spacing"),
    ".zip": ("an archive", "unpack it first"),
    ".gz": ("a compressed file", "unpack it first"),
    ".tar": ("an archive", "unpack it first"),
}


def way_out(path: Path) -> str:
    """What the file looks like by its ending, and what makes a scan of it; empty where that is not known."""
    found = None if path.is_dir() else _KNOWN.get(path.suffix.lower())
    return "" if found is None else f"By its name it is {found[0]}: {found[1]}."
