"""DICOM: reads classic and enhanced image series, writes derived CT and MR series."""
