"""Registrations of the raw-data plugin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medldm import hookimpl

if TYPE_CHECKING:
    from medldm.host.hookspecs import Register


@hookimpl
def register_readers(register: Register) -> None:
    """Offer the reader of medldm's own measurement file, and those of raw k-space."""
    register(
        "acquisition",
        "medldm_rawdata.reader:AcquisitionReader",
        example="medldm_rawdata.examples:reader",
        summary="Measurements in medldm's own format, NAME.acq.safetensors",
    )
    register(
        "ct-pd",
        "medldm_rawdata.projections.ct_pd:CtPdReader",
        example="medldm_rawdata.projections.examples:ct_pd",
        summary="Clinical projections in DICOM-CT-PD: a fan in one plane, or whole detectors along their trajectory",
    )
    register(
        "data-exchange",
        "medldm_rawdata.projections.data_exchange:DataExchangeReader",
        example="medldm_rawdata.projections.examples:data_exchange",
        summary="Synchrotron tomography in Data Exchange HDF5: parallel rays with flats, darks and angles",
    )
    register(
        "htc-fan",
        "medldm_rawdata.projections.htc:HtcReader",
        example="medldm_rawdata.projections.examples:htc",
        summary="Fan-beam sinograms of the Helsinki Tomography Challenge, MATLAB structs CtData*",
    )
    register(
        "sinogram",
        "medldm_rawdata.projections.sinogram_file:SinogramReader",
        example="medldm_rawdata.projections.examples:sinogram",
        summary="Sinograms in .npy, .npz or NIfTI with a JSON that states their geometry",
    )
    register(
        "cone-beam",
        "medldm_rawdata.projections.cone_file:ConeBeamReader",
        example="medldm_rawdata.projections.examples:cone_beam",
        summary="Cone-beam and helical projections in .npy, .npz or NIfTI with a JSON that states their geometry",
    )
    register(
        "kspace-array",
        "medldm_rawdata.array_reader:KSpaceArrayReader",
        example="medldm_rawdata.examples:array_reader",
        summary="k-space in NAME.npy, NAME.npz or NIfTI, Cartesian or along a trajectory, described by NAME.json",
    )
    register(
        "bart",
        "medldm_rawdata.bart_reader:BartReader",
        example="medldm_rawdata.examples:bart_reader",
        summary="Cartesian k-space of BART, NAME.cfl and NAME.hdr, with voxel sizes in NAME.json",
    )
    register(
        "fastmri",
        "medldm_rawdata.fastmri_reader:FastMriReader",
        example="medldm_rawdata.examples:fastmri_reader",
        summary="Cartesian k-space as the fastMRI data sets store it, HDF5",
    )
    register(
        "ismrmrd",
        "medldm_rawdata.ismrmrd_reader:IsmrmrdReader",
        example="medldm_rawdata.examples:ismrmrd_reader",
        summary="ISMRMRD (MRD) files of slices, Cartesian or along trajectories, and Cartesian volumes, HDF5",
    )


@hookimpl
def register_writers(register: Register) -> None:
    """Offer the writer of medldm's own measurement file."""
    register(
        "acquisition",
        "medldm_rawdata.writer:AcquisitionWriter",
        example="medldm_rawdata.examples:writer",
        summary="Measurements in medldm's own format; a volume is stored as the identity measurement of itself",
    )
