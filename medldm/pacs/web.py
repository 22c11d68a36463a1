"""DICOMweb as a client: QIDO-RS and WADO-RS for fetching, STOW-RS for sending (DICOM PS3.18)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from medldm.errors import InputRefused, MedldmError
from medldm.pacs.address import Tls, check_web
from medldm.pacs.packages import package
from medldm.pacs.received import Fetched, Received, unchecked

Tell = Callable[[int, int], None]
# Objects of one request.
_TOGETHER = 16


@dataclass(frozen=True)
class Web:
    """A DICOMweb service.

    Attributes:
        url: its root, such as ``https://pacs.example/dicom-web``.
        token: sent as ``Authorization: Bearer``; None sends none.
        tls: certificates; those of the system when None.
    """

    url: str
    token: str | None = None
    tls: Tls | None = None

    def __repr__(self) -> str:
        return f"Web({self.url!r})"  # never the token

    @contextmanager
    def client(self) -> Iterator[Any]:
        """A client of it, its connections closed at the end.

        Raises:
            UsageError: E-PACS-02, E-PACS-03, E-PACS-04.
        """
        url = check_web(self.url, self.token)
        requests = package("requests")
        session = requests.Session()
        # Left to itself it would take authorities of the environment in the place of ours, and a password that a netrc
        # file holds for this host in the place of the token.
        session.trust_env = False
        session.proxies.update(requests.utils.get_environ_proxies(url))
        session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        if self.tls is not None:
            self.tls.context()  # files that cannot be used are told of now
            if self.tls.authorities is not None:
                session.verify = str(self.tls.authorities)
            if self.tls.certificate is not None:
                key = self.tls.key
                session.cert = str(self.tls.certificate) if key is None else (str(self.tls.certificate), str(key))
        if self.token:
            session.headers["Authorization"] = f"Bearer {self.token}"
        with session:
            found = package("dicomweb_client").DICOMwebClient(url=url, session=session)
            found.set_http_retry_params(retry=False)  # a person who waits is told at once
            yield found

    @contextmanager
    def asked(self) -> Iterator[None]:
        """What goes wrong in a request, told without its headers.

        Raises:
            MedldmError: E-PACS-06, E-PACS-07, E-PACS-11.
        """
        errors = package("requests").exceptions
        try:
            yield
        except errors.HTTPError as error:
            code = 0 if error.response is None else int(error.response.status_code)
            if code in (401, 403):
                raise MedldmError(
                    "E-PACS-07",
                    f"The service refuses us with status {code}.",
                    fix="Check the token in MEDLDM_DICOMWEB_TOKEN or --token-file.",
                ) from None
            raise MedldmError(
                "E-PACS-11", f"The service answered with status {code}.", fix="Check the address of its root."
            ) from None
        except (errors.RequestException, OSError) as error:
            raise MedldmError(
                "E-PACS-06",
                f"The service does not answer: {type(error).__name__}.",
                why="Nothing listens there, the network is blocked, or its certificate is not trusted.",
                fix="Check the address and --tls-ca.",
            ) from None


def fetch(web: Web, study: str, series: str | None, folder: Path, tell: Tell | None = None) -> Fetched:
    """Fetch a study, or one series of it, with objects of every kind.

    Arguments, result and errors are those of :func:`medldm.pacs.messages.fetch`, and E-PACS-11.
    """
    with web.client() as client:
        return _fetch(web, client, study, series, folder, tell)


def _fetch(web: Web, client: Any, study: str, series: str | None, folder: Path, tell: Tell | None) -> Fetched:
    received = Received(folder)
    with web.asked():
        filters = {"SeriesInstanceUID": series} if series else {}
        rows = client.search_for_series(study_instance_uid=study, search_filters=filters, fields=["00201209"])
    if not rows:
        raise InputRefused(
            "E-PACS-08", "The service has no such study or series.", fix="Check the UIDs, and whether it may be seen."
        )
    held = {uid: _count(web, client, study, uid, row) for row in rows if (uid := str(row["0020000E"]["Value"][0]))}
    expected = sum(count or 0 for count in held.values())
    with received:
        for uid, count in held.items():
            before = received.count
            for one in _objects(web, client, study, uid):
                received.keep(partial(one.save_as, enforce_file_format=True))
                if tell is not None:
                    tell(received.count, max(expected, received.count))
            came = received.count - before
            if came < (count or 0):
                raise _less(f"sent {came} of {count} objects of a series")
        if not received.count:
            raise _less("sent no object")
    unknown = sum(count is None for count in held.values())
    return Fetched(received.count, (unchecked(unknown),) if unknown else ())


def _count(web: Web, client: Any, study: str, series: str, row: Any) -> int | None:
    """How many objects a series has, counted one by one where its row does not say; None where nobody tells."""
    if said := row.get("00201209", {}).get("Value"):
        return int(said[0])
    try:
        with web.asked():
            objects = client.search_for_instances(study_instance_uid=study, series_instance_uid=series)
    except MedldmError as error:
        if error.code != "E-PACS-11":
            raise
        return None  # a service that does not answer this question may still send the series
    return len(objects) or None


def _objects(web: Web, client: Any, study: str, series: str) -> Iterator[Any]:
    """The objects of a series as they come. What is done with them is no fault of the service."""
    with web.asked():
        coming = iter(client.iter_series(study_instance_uid=study, series_instance_uid=series))
    while True:
        with web.asked():
            one = next(coming, None)
        if one is None:
            return
        yield one


def _less(what: str) -> MedldmError:
    return MedldmError(
        "E-PACS-09",
        f"The service {what}.",
        why="A study that is not whole gives a volume with gaps; nothing was kept.",
        fix="Try again, one series at a time (--series).",
    )


def send(web: Web, files: Sequence[Path], tell: Tell | None = None) -> int:
    """Send files by STOW-RS, some together; see :func:`medldm.pacs.messages.send`."""
    with web.client() as client:
        return _send(web, client, files, tell)


def _send(web: Web, client: Any, files: Sequence[Path], tell: Tell | None) -> int:
    pydicom, stored = package("pydicom"), 0
    for begin in range(0, len(files), _TOGETHER):
        together = [pydicom.dcmread(str(file)) for file in files[begin : begin + _TOGETHER]]
        with web.asked():
            answer = client.store_instances(together)
        failed = len(answer.get("FailedSOPSequence") or [])
        stored += len(together) - failed
        if failed:
            raise MedldmError(
                "E-PACS-10",
                f"The service stored {stored} of {len(files)} objects and refused {failed}.",
                why="The archive lacks space, or does not take this kind of object.",
                fix="Send again when it can: what it has already stays one copy.",
            )
        if tell is not None:
            tell(stored, len(files))
    return stored
