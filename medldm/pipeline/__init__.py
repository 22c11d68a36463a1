"""The way of a scan: read, simulate, reconstruct, record."""
