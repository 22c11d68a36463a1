"""Priors on disk: the card, the folder, the families that bring the networks, and the way to a scan's grid."""
