"""Training of autoencoders and denoisers on a folder of scans."""
