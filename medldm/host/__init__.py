"""The plugin host: hooks, discovery, registry, options. Imports no torch."""

from medldm.host.blame import blamed
from medldm.host.host import Host, load_host
from medldm.host.loading import PluginRow
from medldm.host.registry import KINDS, Entry, Kind

__all__ = ["KINDS", "Entry", "Host", "Kind", "PluginRow", "blamed", "load_host"]
