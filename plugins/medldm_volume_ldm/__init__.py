"""Priors of volumes: 3-D latent and pixel diffusion with MONAI's networks."""
