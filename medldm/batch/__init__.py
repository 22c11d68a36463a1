"""Many scans: one manifest in, one folder of results each out, on one machine or a cluster."""
