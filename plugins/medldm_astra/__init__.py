"""ASTRA projectors as an operator, an optional extra."""
