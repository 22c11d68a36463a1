"""Endings of the files that are read, and names without them."""

from __future__ import annotations

# Longer ones first.
ENDINGS = (
    *(".acq.safetensors", ".nii.gz", ".img.gz", ".hdr.gz", ".nii", ".img", ".hdr", ".cfl", ".json", ".npy", ".npz"),
    *(".dicom", ".dcm", ".ima", ".hdf5", ".hdf", ".h5", ".mrd", ".mat"),
)


def without_ending(name: str) -> str:
    """A file's name without the ending of a format that is read; other dots belong to the name."""
    ending = next((one for one in ENDINGS if name.lower().endswith(one)), "")
    return name[: len(name) - len(ending)] or name
