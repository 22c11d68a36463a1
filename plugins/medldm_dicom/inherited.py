"""What a derived image takes over from its source: an allow-list, nothing else."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

from pydicom import config
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.valuerep import PersonName, validate_value

from medldm_dicom.header import text, value_of

# Patient, General Study and Patient Study modules (DICOM PS3.3 C.7.1.1, C.7.2.1, C.7.2.2) without free extensions.
_PATIENT_AND_STUDY = (
    "SpecificCharacterSet",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "AdditionalPatientHistory",
)
_PLACE = ("FrameOfReferenceUID", "PositionReferenceIndicator", "PatientPosition", "BodyPartExamined", "Laterality")
_COMPRESSION = ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod")
_CT = ("KVP",)
_MR = (
    "ScanningSequence",
    "SequenceVariant",
    "MRAcquisitionType",
    "RepetitionTime",
    "EchoTime",
    "EchoTrainLength",
    "InversionTime",
)
# Body parts of which there is one (DICOM PS3.16 CID 4031, common ones): a laterality would be out of place.
_UNPAIRED = frozenset(
    {
        *("ABDOMEN", "ABDOMENPELVIS", "BRAIN", "CHEST", "CHESTABDOMEN", "CHESTABDPELVIS", "CSPINE", "HEAD", "HEADNECK"),
        *(
            "HEART",
            "LIVER",
            "LSPINE",
            "NECK",
            "NECKCHEST",
            "PANCREAS",
            "PELVIS",
            "PROSTATE",
            "SKULL",
            "SPINE",
            "SSPINE",
        ),
        *("TSPINE", "TLSPINE", "UTERUS", "WHOLEBODY"),
    }
)
_SEXES = frozenset({"M", "F", "O"})
_SCANNING_SEQUENCES = frozenset({"SE", "IR", "GR", "EP", "RM"})


def inherit(image: Dataset, source: Dataset) -> None:
    """Copy the allow-listed elements of ``source`` that are there; private elements never are.

    A value that its value representation forbids is left out, so that a faulty source makes no faulty copy.
    """
    modality = image.Modality
    _copy(image, source, (*_PATIENT_AND_STUDY, *_PLACE, *_COMPRESSION, *(_CT if modality == "CT" else _MR)))
    if text(image, "PatientSex") not in _SEXES:
        image.pop("PatientSex", None)
    if text(image, "PatientIdentityRemoved") == "YES" and not (
        text(image, "DeidentificationMethod") or "DeidentificationMethodCodeSequence" in image
    ):
        image.DeidentificationMethod = "as received, method not stated"


def _copy(image: Dataset, source: Dataset, keywords: Iterable[str]) -> None:
    for keyword in keywords:
        if value_of(source, keyword) is not None:
            element = copy.deepcopy(source[keyword])
            if not _is_valid(element):
                continue
            if element.VR == "SQ":
                # A sequence of the allow-list may carry private elements inside.
                for item in element.value:
                    item.remove_private_tags()
            image[keyword] = element


def _is_valid(element: DataElement) -> bool:
    values = element.value if isinstance(element.value, MultiValue) else [element.value]
    try:
        for value in values:
            if isinstance(value, (str, PersonName)) and value != "":
                validate_value(element.VR, value, config.RAISE)
    except ValueError:
        return False
    return True


def placeholder(image: Dataset, origin: str, created: str, time: str) -> None:
    """Patient and study for a source that has neither; they say so."""
    image.PatientName = "ANONYMOUS^NO DICOM SOURCE"
    image.PatientID = f"MEDLDM-{origin[:16]}"
    image.StudyDate, image.StudyTime = created, time
    image.StudyDescription = "medldm: source without DICOM header"


def complete(image: Dataset) -> None:
    """Empty values for the elements that must be there, known or not (type 2)."""
    for keyword in (
        "PatientName",
        "PatientID",
        "PatientBirthDate",
        "PatientSex",
        "StudyDate",
        "StudyTime",
        "StudyID",
        "AccessionNumber",
        "ReferringPhysicianName",
        "PositionReferenceIndicator",
        "PatientPosition",
        "AcquisitionNumber",
        *(("KVP",) if image.Modality == "CT" else ("EchoTime", "EchoTrainLength", "MRAcquisitionType", "ScanOptions")),
    ):
        if keyword not in image:
            setattr(image, keyword, None)
    if not text(image, "BodyPartExamined"):
        image.pop("BodyPartExamined", None)
    if "Laterality" not in image and text(image, "BodyPartExamined") not in _UNPAIRED:
        image.Laterality = None
    if image.Modality == "MR":
        stated = [str(value) for value in _many(image, "ScanningSequence")]
        if not stated or not set(stated) <= _SCANNING_SEQUENCES:
            image.ScanningSequence = "RM"
        if not text(image, "SequenceVariant"):
            image.SequenceVariant = "NONE"
        if "RepetitionTime" not in image:
            image.RepetitionTime = None
        if "IR" not in _many(image, "ScanningSequence"):
            image.pop("InversionTime", None)
        elif "InversionTime" not in image:
            image.InversionTime = None


def _many(image: Dataset, keyword: str) -> Sequence[str]:
    value = image.get(keyword)
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)
