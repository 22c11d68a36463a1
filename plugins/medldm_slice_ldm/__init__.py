"""Priors of slices: 2-D latent and pixel diffusion with diffusers' networks."""
