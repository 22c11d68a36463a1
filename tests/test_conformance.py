"""Every registered component of every installed plugin obeys the laws. No example, no registration."""

from __future__ import annotations

import pytest

from medldm.host import KINDS, Entry, PluginRow, load_host
from medldm.testing.checks import check_entry

HOST = load_host()
FIRST_PARTY = [row for row in HOST.plugins if row.distribution == "medldm"]
ENTRIES = [entry for kind in KINDS for entry in HOST.entries(kind)]


@pytest.mark.parametrize("row", FIRST_PARTY, ids=lambda row: row.name)
def test_every_plugin_shipped_here_loads(row: PluginRow) -> None:
    if row.status == "absent":
        pytest.skip(row.error)
    assert row.status == "ok", row.error
    assert row.components, "a plugin that offers nothing"


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.kind}-{entry.name}")
def test_every_component_obeys_the_laws(entry: Entry) -> None:
    rows = check_entry(entry)
    failed = [f"{row.law}: {row.message}" for row in rows if row.status == "failed"]
    assert not failed, "\n".join(failed)
    assert any(row.law == "example can be made" for row in rows)
