"""Cone-beam and helical computed tomography: views of rows and columns of a whole volume."""
