"""The hospital's network: fetching studies and sending results, by DICOM messages or DICOMweb; a client only."""
