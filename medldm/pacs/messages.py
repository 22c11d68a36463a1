"""DICOM messages (DIMSE) as a client: C-FIND and C-GET for fetching, C-STORE for sending; no port is opened.

Objects come back over the association that asked for them (C-GET), so nothing listens on this computer; an archive that
offers C-MOVE only is reached by its DICOMweb service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medldm.errors import InputRefused, MedldmError
from medldm.pacs.address import Node, Tls
from medldm.pacs.packages import package
from medldm.pacs.received import Received

# What medldm reads, old and enhanced, and what it may have written itself.
_STORAGE = (
    "CTImageStorage",
    "EnhancedCTImageStorage",
    "LegacyConvertedEnhancedCTImageStorage",
    "MRImageStorage",
    "EnhancedMRImageStorage",
    "LegacyConvertedEnhancedMRImageStorage",
    "ParametricMapStorage",
    "SecondaryCaptureImageStorage",
)
_SECONDS = 30.0
_PENDING = (0xFF00, 0xFF01)
Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class Peer:
    """A node, what we call ourselves to it, and the encryption.

    Attributes:
        node: of the archive.
        calling: our application entity title.
        tls: None speaks unencrypted, as most archives inside a hospital do.
    """

    node: Node
    calling: str = "MEDLDM"
    tls: Tls | None = None

    @contextmanager
    def association(self, contexts: Sequence[Any], **how: Any) -> Iterator[Any]:
        """An association, released at the end.

        Raises:
            MedldmError: E-PACS-06 nobody answers, E-PACS-07 we are refused.
        """
        entity = package("pynetdicom").AE(ae_title=self.calling)
        entity.connection_timeout = entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = _SECONDS
        entity.requested_contexts = list(contexts)
        if self.tls is not None:
            how["tls_args"] = (self.tls.context(), self.node.host)
        found = entity.associate(self.node.host, self.node.port, ae_title=self.node.title, **how)
        if found.is_rejected:
            raise MedldmError(
                "E-PACS-07",
                f"{self.node} refuses {self.calling!r}.",
                why="Archives speak with the application entities that they were told of.",
                fix="Have the title entered there, or give the one that is: --calling TITLE.",
            )
        if not found.is_established:
            raise MedldmError(
                "E-PACS-06",
                f"{self.node} does not answer.",
                why="Nothing listens there, the network is blocked, or one side expects encryption.",
                fix="Check host, port and --tls.",
            )
        try:
            yield found
        finally:
            found.release()


def fetch(peer: Peer, study: str, series: str | None, folder: Path, tell: Tell | None = None) -> int:
    """Fetch a study, or one series of it.

    Args:
        peer: the archive.
        study: UID.
        series: UID; all of the study when None.
        folder: to make, with one file an object.
        tell: called with the objects so far and expected.

    Returns:
        How many objects there are.

    Raises:
        InputRefused: E-PACS-08 the archive knows no such study.
        MedldmError: E-PACS-06, E-PACS-07; E-PACS-09 it sent less than it has.
    """
    expected = _count(peer, study, series)
    net, classes = package("pynetdicom"), package("pynetdicom.sop_class")
    get = classes.StudyRootQueryRetrieveInformationModelGet
    syntaxes = net.ALL_TRANSFER_SYNTAXES
    contexts = [net.build_context(get)]
    contexts += [net.build_context(getattr(classes, name), syntaxes) for name in _STORAGE]
    roles = [net.build_role(getattr(classes, name), scp_role=True) for name in _STORAGE]
    with Received(folder) as received:

        def keep(event: Any) -> int:
            received.next_file().write_bytes(event.encoded_dataset())
            if tell is not None:
                tell(received.count, expected)
            return 0

        with peer.association(contexts, ext_neg=roles, evt_handlers=[(net.evt.EVT_C_STORE, keep)]) as association:
            status = _last(association.send_c_get(_identifier(study, series), get))
        if status != 0 or received.count < expected:
            raise MedldmError(
                "E-PACS-09",
                f"{peer.node} sent {received.count} of {expected} objects and ended with status 0x{status:04X}.",
                why="A study that is not whole gives a volume with gaps; nothing was kept.",
                fix="Try again, one series at a time (--series), or by DICOMweb (--web).",
            )
        return received.count


def _count(peer: Peer, study: str, series: str | None) -> int:
    """Objects that the archive has of it, by C-FIND."""
    net, classes = package("pynetdicom"), package("pynetdicom.sop_class")
    find = classes.StudyRootQueryRetrieveInformationModelFind
    with peer.association([net.build_context(find)]) as association:
        answers = association.send_c_find(_identifier(study, series, "SERIES"), find)
        rows = [row for status, row in answers if status and status.Status in _PENDING and row is not None]
    if not rows:
        raise InputRefused(
            "E-PACS-08", f"{peer.node} has no such study or series.", fix="Check the UIDs, and whether it may be seen."
        )
    return sum(int(row.get("NumberOfSeriesRelatedInstances") or 0) for row in rows)


def _identifier(study: str, series: str | None, level: str = "") -> Any:
    query = package("pydicom").Dataset()
    query.QueryRetrieveLevel = level or ("SERIES" if series else "STUDY")
    query.StudyInstanceUID = study
    if series or level:
        query.SeriesInstanceUID = series or ""
    if level:
        query.NumberOfSeriesRelatedInstances = ""
    return query


def _last(answers: Iterator[tuple[Any, Any]]) -> int:
    """The final status; that of a lost association where there is none."""
    status = 0xFFFF
    for answer, _ in answers:
        status = int(answer.Status) if answer else 0xFFFF
    return status


def send(peer: Peer, files: Sequence[Path], tell: Tell | None = None) -> int:
    """Send files, each by C-STORE under its own class and transfer syntax.

    Sending again replaces nothing and adds nothing: the UIDs of a result follow from its scan and recipe.

    Returns:
        How many were stored.

    Raises:
        MedldmError: E-PACS-06, E-PACS-07; E-PACS-10 not all were stored.
    """
    net, pydicom = package("pynetdicom"), package("pydicom")
    kinds = sorted({_kind(pydicom, file) for file in files})
    contexts = [net.build_context(one, syntax) for one, syntax in kinds]
    stored = 0
    with peer.association(contexts) as association:
        for file in files:
            try:
                answer = association.send_c_store(str(file))
            except (ValueError, RuntimeError):
                answer = None  # no context for this class was accepted, or the association is lost
            status = int(answer.Status) if answer else 0xFFFF
            # 0xBxxx: stored, with a remark.
            if status != 0 and status >> 12 != 0xB:
                raise MedldmError(
                    "E-PACS-10",
                    f"{peer.node} stored {stored} of {len(files)} objects, then answered 0x{status:04X}.",
                    why="The archive lacks space, or does not take this kind of object.",
                    fix="Send again when it can: what it has already stays one copy.",
                )
            stored += 1
            if tell is not None:
                tell(stored, len(files))
    return stored


def _kind(pydicom: Any, file: Path) -> tuple[str, str]:
    meta = pydicom.filereader.read_file_meta_info(str(file))
    return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
