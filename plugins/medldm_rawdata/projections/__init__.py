"""Measured X-ray projections: readers of what beamlines, laboratories and other programs store."""
