"""What makes a written image say that it is derived, by what, from what, and for research only."""

from __future__ import annotations

import re
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage
from pydicom.valuerep import format_number_as_ds

from medldm.data import Provenance
from medldm_dicom.header import text
from medldm_dicom.quantise import Quantisation
from medldm_dicom.uids import uid

# Their order numbers the series of a run.
ROLES = (
    *("reconstruction", "baseline", "simulated-input", "deviation", "sample"),
    *("spread", "interval-lower", "interval-upper", "prior-share"),
)
# DICOM PS3.16: CID 7203 Image Derivation, CID 7202 Source Image Purposes, CID 7005 Contributing Equipment.
_CODES = {
    "processing": ("110001", "DCM", "Image Processing"),
    "iterative": ("113963", "DCM", "Iterative Reconstruction"),
    "ai": ("123110", "DCM", "Artificial Intelligence"),
    "source": ("121322", "DCM", "Source image for image processing operation"),
    "equipment": ("109102", "DCM", "Processing Equipment"),
    "acquisition": ("109101", "DCM", "Acquisition Equipment"),
    "no units": ("1", "UCUM", "no units"),
}


def plain(words: str, limit: int) -> str:
    """Text that every DICOM character set can hold: printable ASCII, no backslash, at most ``limit`` characters."""
    return re.sub(r"\s+", " ", words).encode("ascii", "replace").decode().translate(_PRINTABLE).strip()[:limit]


_PRINTABLE = dict.fromkeys((*range(32), 127, ord("\\")), "?")


def code(name: str) -> Dataset:
    """An item of a code sequence."""
    value, scheme, meaning = _CODES[name]
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def decimal(value: float) -> str:
    """A DICOM decimal string: the closest in 16 characters."""
    return format_number_as_ds(0.0 if abs(value) < 1e-12 else float(value))


def describe_series(image: Dataset, modality: str, provenance: Provenance, series_number: int) -> None:
    """Series, equipment and the statements that stand in every image of the series."""
    day, time = stamps(provenance.created)
    image.SOPClassUID = CTImageStorage if modality == "CT" else MRImageStorage
    image.Modality = modality
    image.SeriesNumber = series_number + ROLES.index(provenance.role)
    image.SeriesDescription = plain(provenance.title, 64)
    image.SeriesDate = image.ContentDate = image.InstanceCreationDate = day
    image.SeriesTime = image.ContentTime = image.InstanceCreationTime = time
    image.Manufacturer = image.ManufacturerModelName = "medldm"
    image.SoftwareVersions = plain(provenance.version, 64)
    image.ImageType = ["DERIVED", "SECONDARY", "AXIAL" if modality == "CT" else "OTHER"]
    image.ContentQualification = "RESEARCH"
    image.BurnedInAnnotation = "NO"
    image.ImageComments = plain(provenance.comment, 10240)


def describe_derivation(image: Dataset, provenance: Provenance, quantisation: Quantisation, notes: list[str]) -> None:
    """Derivation text and codes; contributing equipment."""
    sentences = [
        provenance.comment,
        f"Method: {plain(provenance.method, 400)}",
        f"medldm {provenance.version}, seed {provenance.seed}, recipe {provenance.recipe_hash[:16]}"
        + (f", weights {provenance.weights_hash[:16]}" if provenance.weights_hash else ""),
        f"Quantisation error at most {quantisation.slope / 2:g}",
        *notes,
    ]
    image.DerivationDescription = plain(". ".join(sentences) + ".", 1024)
    # A baseline may be filtered back-projection or zero filling; only the method line says which.
    iterative = provenance.role not in {"baseline", "simulated-input"}
    names = ["processing", *(["iterative"] if iterative else []), *(["ai"] if provenance.generative else [])]
    image.DerivationCodeSequence = [code(name) for name in names]
    equipment = Dataset()
    equipment.PurposeOfReferenceCodeSequence = [code("equipment")]
    equipment.Manufacturer = equipment.ManufacturerModelName = "medldm"
    equipment.SoftwareVersions = [plain(provenance.version, 64), plain(provenance.recipe_hash, 64) or "no recipe"]
    equipment.ContributionDateTime = "".join(stamps(provenance.created))
    equipment.ContributionDescription = plain(provenance.method, 1024)
    if provenance.weights_hash:
        # IHE AI Results: the device is another one when its model is.
        equipment.DeviceUID = uid("weights", provenance.weights_hash)
    image.ContributingEquipmentSequence = [equipment]


def describe_scanner(image: Dataset, source: Dataset) -> None:
    """The equipment that acquired the source, as a contributor and not as the maker of this image."""
    if not text(source, "Manufacturer"):
        return
    scanner = Dataset()
    scanner.PurposeOfReferenceCodeSequence = [code("acquisition")]
    scanner.Manufacturer = plain(text(source, "Manufacturer"), 64)
    if text(source, "ManufacturerModelName"):
        scanner.ManufacturerModelName = plain(text(source, "ManufacturerModelName"), 64)
    image.ContributingEquipmentSequence = [scanner, *image.ContributingEquipmentSequence]


def describe_pixels(image: Dataset, quantisation: Quantisation, hounsfield: bool, window: tuple[float, float]) -> None:
    """Integer storage and what the integers mean; the window is in units of the values."""
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 16, 15
    image.PixelRepresentation = int(quantisation.signed)
    centre, width = window
    if image.Modality == "CT":
        image.RescaleSlope, image.RescaleIntercept = decimal(quantisation.slope), decimal(quantisation.intercept)
        image.RescaleType = "HU" if hounsfield else "US"
    else:
        # The MR Image IOD has no rescale: windows apply to stored integers, the factor is a real world value map.
        centre, width = (centre - quantisation.intercept) / quantisation.slope, width / quantisation.slope
        image.RealWorldValueMappingSequence = [_real_world(quantisation)]
    image.WindowCenter, image.WindowWidth = decimal(centre), decimal(max(width, 1.0))


def _real_world(quantisation: Quantisation) -> Dataset:
    item = Dataset()
    low, high = (-(2**15), 2**15 - 1) if quantisation.signed else (0, 2**16 - 1)
    kind = "SS" if quantisation.signed else "US"
    item.add_new("RealWorldValueFirstValueMapped", kind, low)
    item.add_new("RealWorldValueLastValueMapped", kind, high)
    item.RealWorldValueSlope = quantisation.slope
    item.RealWorldValueIntercept = quantisation.intercept
    item.LUTLabel, item.LUTExplanation = "medldm", "stored integer to value"
    item.MeasurementUnitsCodeSequence = [code("no units")]
    return item


def stamps(moment: datetime) -> tuple[str, str]:
    """DICOM date and time of the run, as passed in."""
    return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
