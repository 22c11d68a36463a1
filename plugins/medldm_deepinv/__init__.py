"""Physics and denoisers of deepinv, an optional extra."""
