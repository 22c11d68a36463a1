"""Scans as training sees them: brought to one pose, and left out where the configuration says so."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from training_scene import head, tiny_config, write_nifti

from medldm.data import attenuation_from_hu
from medldm.errors import UsageError
from medldm.host import Host
from medldm.training.cards import units_of
from medldm.training.scans import read_scans
from medldm.training.subject import subject_of

VALUES = head(5, (20, 24, 22))
SPACING = (1.5, 1.2, 1.1)  # of z, y and x


@pytest.mark.parametrize("axes", ["RAS", "LPS", "LAS", "SLA", "PIR", "ASR"])
def test_one_head_stored_in_any_pose_is_one_training_scan(host: Host, axes: str, tmp_path: Path) -> None:
    """Values, spacings and the planes across the axes: z to the head, y to the back, x to the patient's left."""
    write_nifti(tmp_path / "t1w-3.nii.gz", 700 * VALUES, np.diag([-SPACING[2], -SPACING[1], SPACING[0], 1.0]))
    plain_image = nibabel.load(tmp_path / "t1w-3.nii.gz")
    there = nibabel.orientations.axcodes2ornt(tuple(axes))
    turn = nibabel.orientations.ornt_transform(nibabel.orientations.io_orientation(plain_image.affine), there)
    turned = plain_image.as_reoriented(turn)
    assert "".join(nibabel.aff2axcodes(turned.affine)) == axes
    nibabel.save(turned, tmp_path / "t1w-1.nii.gz")
    stored, plain = read_scans(host, [tmp_path], tiny_config().data, lambda text: None)
    assert stored.planes == plain.planes == ("axial", "coronal", "sagittal")
    assert stored.spacing == pytest.approx(SPACING) and plain.spacing == pytest.approx(SPACING)
    assert torch.equal(stored.data, plain.data)
    shape_and_values = torch.from_numpy(VALUES / np.percentile(VALUES, 99.9))
    assert torch.allclose(plain.data.float(), shape_and_values, atol=2e-3)


def test_scans_left_out_are_neither_read_nor_asked_for_a_rule(host: Host, tmp_path: Path) -> None:
    for name in ("t1w-1", "t1w-3", "pd-1"):
        write_nifti(tmp_path / f"{name}.nii.gz", VALUES, np.diag([1.0, 1.0, 1.0, 1.0]))
    (tmp_path / "pd-2.nii.gz").write_bytes(b"no scan at all")
    told: list[str] = []
    data = tiny_config(data={"leave_out": ["pd-*"]}).data
    assert [scan.subject for scan in read_scans(host, [tmp_path], data, told.append)] == ["t1w-1", "t1w-3"]
    assert told == ["2 scans: 1 subjects to train on, 1 held back"]


def _write_mu(path: Path, hounsfield: np.ndarray) -> None:
    """CT as attenuation, whose unit the header names."""
    values = attenuation_from_hu()(torch.from_numpy(hounsfield)).numpy()
    image = nibabel.Nifti1Image(np.ascontiguousarray(values.T), np.eye(4))
    image.header.set_xyzt_units("mm", "sec")
    image.header["intent_name"] = b"1/mm"
    nibabel.save(image, path)


def test_a_scan_of_another_modality_than_its_rule_is_refused(host: Host, tmp_path: Path) -> None:
    """By what a sidecar says, or by the integers of CT; a file that says nothing is taken at the rule's word."""
    data = tiny_config(data={"rules": [{"match": "*", "modality": "MR"}]}).data
    for name in ("t1w-1", "t1w-3"):
        write_nifti(tmp_path / f"{name}.nii.gz", VALUES, np.eye(4))
    assert len(read_scans(host, [tmp_path], data, lambda text: None)) == 2
    hounsfield = (-1000 + 1100 * VALUES).round().astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(hounsfield.T), np.eye(4)), tmp_path / "chest.nii.gz")
    with pytest.raises(UsageError, match=r"E-TRN-08.*chest\.nii\.gz is CT.*says MR"):
        read_scans(host, [tmp_path], data, lambda text: None)
    (tmp_path / "chest.nii.gz").unlink()
    write_nifti(tmp_path / "ct-1.nii.gz", VALUES, np.eye(4))
    (tmp_path / "ct-1.json").write_text('{"Modality": "MR"}')
    with pytest.raises(UsageError, match=r"E-TRN-08.*ct-1\.nii\.gz is MR.*says CT"):
        read_scans(host, [tmp_path], tiny_config().data, lambda text: None)


def test_scans_are_brought_to_the_unit_of_their_card(host: Host, tmp_path: Path) -> None:
    hounsfield = (-1000 + 1100 * VALUES).astype(np.float32)
    _write_mu(tmp_path / "ct-1.nii.gz", hounsfield)
    write_nifti(tmp_path / "ct-2.nii.gz", hounsfield, np.eye(4))
    in_hu = {"modality": "CT", "quantity": "HU", "intensity": {"rule": "window", "low": -1000, "high": 1000}}
    units = units_of(tiny_config(card=in_hu))
    assert units == units_of(tiny_config()) == {"CT": "HU", "MR": "arbitrary"}
    one, other = read_scans(host, [tmp_path], tiny_config().data, lambda text: None, units=units)
    assert torch.allclose(one.data, other.data, atol=2e-3)

    window = {"rule": "window", "low": 0.0, "high": 0.04}
    content = tiny_config(card={**in_hu, "quantity": "1/mm", "intensity": window}, data={"intensity": {"CT": window}})
    scans = read_scans(host, [tmp_path], content.data, lambda text: None, units=units_of(content))
    water = float(attenuation_from_hu()(torch.tensor(0.0))) / 0.04
    for scan in scans:
        assert float(scan.data.max()) == pytest.approx(water * (1 + float(hounsfield.max()) / 1000), rel=5e-3)

    content = tiny_config(card={**in_hu, "quantity": "arbitrary"})
    with pytest.raises(UsageError, match="E-TRN-09"):
        read_scans(host, [tmp_path], content.data, lambda text: None, units=units_of(content))


def test_a_scan_whose_values_half_precision_cannot_hold_is_left_out_by_name(host: Host, tmp_path: Path) -> None:
    for n in (1, 2, 3):
        values = -1000 + 1100 * VALUES
        if n == 3:
            values[:, :, :2] = -(2.0**31)  # padding of a file of 32-bit integers
        write_nifti(tmp_path / f"ct-{n}.nii.gz", values, np.eye(4))
    told: list[str] = []
    scans = read_scans(host, [tmp_path], tiny_config().data, told.append)
    assert [scan.subject for scan in scans] == ["ct-1", "ct-2"]
    assert len(told) == 2 and told[0].startswith("left out ct-3.nii.gz: E-TRN-07") and "-2.147e+09" in told[0]


@pytest.mark.parametrize(
    ("relative", "expression", "folder", "subject"),
    [
        ("head.001.nii.gz", "", False, "head.001"),
        ("p7/brain_0.8mm.NII.GZ", "", False, "brain_0.8mm"),
        ("1.2.840.113.7", "", True, "1.2.840.113.7"),
        ("chest.nii", "", True, "chest.nii"),
        ("sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz", "", False, "sub-02"),
        ("sub-02_FLAIR.nii", "", False, "sub-02"),
        ("sub-02/dicom", "", True, "sub-02"),
        ("sub-a-001.nii.gz", "", False, "sub-a-001"),
        ("my-sub-02.nii.gz", "", False, "my-sub-02"),
        ("sub-02/p5-t1.nii", "(p[0-9]+)", False, "p5"),
        ("q5.nii", "(p[0-9]+)", False, "q5"),
        ("q5.nii", "(p[0-9]+)?", False, "q5"),
    ],
)
def test_a_subject_is_named_by_the_rule_by_bids_or_by_the_file(
    relative: str, expression: str, folder: bool, subject: str
) -> None:
    assert subject_of(relative, expression, folder=folder) == subject


def test_all_scans_of_a_subject_are_on_one_side(host: Host, tmp_path: Path) -> None:
    for n in range(1, 5):
        for contrast in ("T1w", "T2w", "FLAIR"):
            place = tmp_path / f"sub-{n:02d}" / "anat"
            place.mkdir(parents=True, exist_ok=True)
            write_nifti(place / f"sub-{n:02d}_{contrast}.nii.gz", VALUES, np.eye(4))
    rules = [{"match": "*", "modality": "MR"}]
    data = tiny_config(data={"rules": rules, "held_back": [], "held_back_share": 0.3}).data
    scans = read_scans(host, [tmp_path], data, lambda text: None)
    held = {scan.subject for scan in scans if scan.held_back}
    assert len(scans) == 12 and len(held) == 1
    assert all(scan.held_back == (scan.subject in held) for scan in scans)


def test_files_told_apart_after_a_dot_are_different_subjects(host: Host, tmp_path: Path) -> None:
    for n in range(3):
        write_nifti(tmp_path / f"head.{n:03d}.nii.gz", VALUES, np.eye(4))
    rules: list[dict[str, str]] = [{"match": "*", "modality": "MR"}]
    data = tiny_config(data={"rules": rules, "held_back": ["head.001"]}).data
    scans = read_scans(host, [tmp_path], data, lambda text: None)
    assert [scan.held_back for scan in scans] == [False, True, False]

    rules = [{"match": "*", "modality": "MR", "subject": "(head)"}]
    with pytest.raises(UsageError, match=r"E-TRN-02.*subjects are head\. .*'subject' of a rule"):
        read_scans(host, [tmp_path], tiny_config(data={"rules": rules, "held_back": ["head.001"]}).data, print)
