"""DICOM messages (DIMSE) as a client: C-FIND and C-GET for fetching, C-STORE for sending; no port is opened.

Objects come back over the association that asked for them (C-GET), so nothing listens on this computer; an archive that
offers C-MOVE only is reached by its DICOMweb service.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medldm.errors import InputRefused, MedldmError
from medldm.pacs.address import Node, Tls
from medldm.pacs.holdings import STORAGE, Series, identifier, objects_of, series_of
from medldm.pacs.packages import package
from medldm.pacs.received import Fetched, Received, unchecked

_SECONDS = 30.0
# Of a peer that is gone; DICOM knows no such status.
_LOST = 0xFFFF
# Some sub-operations of C-GET failed, or all: objects of kinds that were not asked for are among them.
_SUBOPERATIONS = (0x0000, 0xB000, 0xA702)
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


def fetch(peer: Peer, study: str, series: str | None, folder: Path, tell: Tell | None = None) -> Fetched:
    """Fetch what medldm reads of a study, or one series of it. A series comes whole, or nothing does.

    Args:
        peer: the archive.
        study: UID.
        series: UID; all of the study when None.
        folder: to make, with one file an object.
        tell: called with the objects so far and expected.

    Returns:
        How many objects there are, and what was left out or could not be checked.

    Raises:
        InputRefused: E-PACS-08 the archive knows no such study.
        UsageError: E-PACS-05, E-OUT-04 of the folder.
        MedldmError: E-PACS-06, E-PACS-07; E-PACS-09 it sent less than it has, or nothing; E-OUT-05 the disk is full.
    """
    net, classes = package("pynetdicom"), package("pynetdicom.sop_class")
    contexts = [net.build_context(classes.StudyRootQueryRetrieveInformationModelFind)]
    contexts += [net.build_context(classes.StudyRootQueryRetrieveInformationModelGet)]
    contexts += [net.build_context(getattr(classes, name), net.ALL_TRANSFER_SYNTAXES) for name in STORAGE]
    roles = [net.build_role(getattr(classes, name), scp_role=True) for name in STORAGE]
    received = Received(folder)
    with peer.association(contexts, ext_neg=roles) as association:
        held = series_of(association, study, series)
        if not held:
            raise InputRefused(
                "E-PACS-08",
                f"{peer.node} has no such study or series.",
                fix="Check the UIDs, and whether it may be seen.",
            )
        with received:
            arriving = _Arriving(received, sum(one.count or 0 for one in held), tell)
            association.bind(net.evt.EVT_C_STORE, arriving.keep)
            left, unknown = Counter[str](), 0
            for one in held:
                kinds, checked = _get(association, peer, study, one, arriving)
                left.update(kinds)
                unknown += not checked
            words = ", ".join(f"{count} {kind}" for kind, count in sorted(left.items()))
            left_out = [f"Left out: {words}; objects of CT and MR are asked for."] if left else []
            if not received.count:
                raise _less(peer, "sent no object", *left_out)
    return Fetched(received.count, (*left_out, *([unchecked(unknown)] if unknown else [])))


class _Arriving:
    """Objects that come by C-STORE while C-GET goes on.

    Attributes:
        names: UIDs of those of one series.
        failure: of our own disk, for exceptions do not leave an event.
    """

    def __init__(self, received: Received, expected: int, tell: Tell | None) -> None:
        self.names: set[str] = set()
        self.failure: MedldmError | None = None
        self._received, self._expected, self._tell = received, expected, tell

    def keep(self, event: Any) -> int:
        content = event.encoded_dataset()
        try:
            self._received.keep(lambda path: path.write_bytes(content))
        except MedldmError as error:
            self.failure = error
            event.assoc.abort()  # the rest of a study is not sent in vain, and nobody waits for it
            event.assoc.dimse_timeout = 0
            return 0xA700
        self.names.add(str(event.request.AffectedSOPInstanceUID))
        if self._tell is not None:
            self._tell(self._received.count, max(self._expected, self._received.count))
        return 0


def _get(association: Any, peer: Peer, study: str, one: Series, arriving: _Arriving) -> tuple[list[str], bool]:
    """Fetch a series: what was left out of it, in words, and whether all else is known to be there."""
    arriving.names.clear()
    status = _last(association, identifier(study, one.uid, "SERIES"))
    if arriving.failure is not None:
        raise arriving.failure
    came = len(arriving.names)
    if status == 0 and one.count is not None and came >= one.count:
        return [], True
    if status != _LOST and (names := objects_of(association, study, one.uid)):
        missing = [kind for name, kind in names.items() if name not in arriving.names]
        checked = True
    else:
        # Without counts and a list a good end is all that there is to go by, unless nothing came.
        least = int(status != 0 or not came) if one.count is None else one.count - came
        missing, checked = [""] * least, one.count is not None
    empty = not came and status in _SUBOPERATIONS
    lacking = sum(one.reads(kind, empty=empty) for kind in missing)
    if lacking or status == _LOST:
        total = f" of {came + len(missing)}" if checked else ""
        raise _less(peer, f"sent {came}{total} objects of a series and ended with status 0x{status:04X}")
    return [one.kind_in_words(kind) for kind in missing], checked or not came


def _less(peer: Peer, what: str, why: str = "") -> MedldmError:
    return MedldmError(
        "E-PACS-09",
        f"{peer.node} {what}.",
        why=why or "A study that is not whole gives a volume with gaps; nothing was kept.",
        fix="Try again, one series at a time (--series), or by DICOMweb (--web).",
    )


def _last(association: Any, query: Any) -> int:
    """The final status of a C-GET; :data:`_LOST` where the association is, or the archive does not offer it."""
    status = _LOST
    get = package("pynetdicom.sop_class").StudyRootQueryRetrieveInformationModelGet
    try:
        for answer, _ in association.send_c_get(query, get):
            status = int(answer.Status) if answer else _LOST
    except (ValueError, RuntimeError):
        status = _LOST
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
