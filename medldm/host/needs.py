"""The words in which a component says what its partners must be able to do."""

from __future__ import annotations

# The meaning of each word for operators and priors stands in medldm.inference.negotiation.
NEEDS: dict[str, str] = {
    "filtered-adjoint": "the operator has an approximate inverse of its own, filtered back-projection",
    "subsets": "the operator's measurement splits into parts, such as views",
    "preconditioner": "the operator brings an approximate inverse of its normal equations",
    "real": "the image is real",
    "complex": "the image or what is measured of it is complex",
    "prior": "a diffusion prior takes part",
    "regressor": "a network takes part that was trained to turn the start image into the image",
    "image-prior": "the state of the prior is the image itself",
    "latent-prior": "the state of the prior is a latent, which it decodes",
    "decode-gradient": "the prior's decoder can be differentiated",
}
