"""Cone-beam projectors of RTK on the CPU, an optional extra."""
