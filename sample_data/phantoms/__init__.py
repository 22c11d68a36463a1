"""Anatomical phantoms made from formulas and a seed: a brain MR and a chest CT."""
