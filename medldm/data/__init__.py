"""Values that a scan is made of: grid, volume, acquisition, intensity maps, history."""

from medldm.data.acquisition import Acquisition
from medldm.data.grid import Grid
from medldm.data.history import Event, History
from medldm.data.intensity import AffineMap, attenuation_from_hu
from medldm.data.object_mean import object_mean
from medldm.data.provenance import Provenance
from medldm.data.reading import ChecksBeforehand, NamesItsFiles, Reader, ReadRequest, SeriesRow, Writer
from medldm.data.volume import Quantity, Source, Volume

__all__ = [
    "Acquisition",
    "AffineMap",
    "ChecksBeforehand",
    "Event",
    "Grid",
    "History",
    "NamesItsFiles",
    "Provenance",
    "Quantity",
    "ReadRequest",
    "Reader",
    "SeriesRow",
    "Source",
    "Volume",
    "Writer",
    "attenuation_from_hu",
    "object_mean",
]
