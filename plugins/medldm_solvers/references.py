"""What to cite for the solvers of this plugin; a solver lists its own in ``references``."""

from __future__ import annotations

KAK_SLANEY = "A. C. Kak, M. Slaney. Principles of Computerized Tomographic Imaging. IEEE Press, 1988."
SART = (
    "A. H. Andersen, A. C. Kak. Simultaneous algebraic reconstruction technique (SART). Ultrasonic Imaging 6(1), "
    "81-94, 1984."
)
BJORCK = "Å. Björck. Numerical Methods for Least Squares Problems. SIAM, 1996."
CG_SENSE = (
    "K. P. Pruessmann, M. Weiger, P. Börnert, P. Boesiger. Advances in sensitivity encoding with arbitrary k-space "
    "trajectories. Magnetic Resonance in Medicine 46(4), 638-651, 2001."
)
FISTA = (
    "A. Beck, M. Teboulle. A fast iterative shrinkage-thresholding algorithm for linear inverse problems. SIAM "
    "Journal on Imaging Sciences 2(1), 183-202, 2009."
)
SPARSE_MRI = (
    "M. Lustig, D. Donoho, J. M. Pauly. Sparse MRI: the application of compressed sensing for rapid MR imaging. "
    "Magnetic Resonance in Medicine 58(6), 1182-1195, 2007."
)
CHAMBOLLE_POCK = (
    "T. Pock, A. Chambolle. Diagonal preconditioning for first order primal-dual algorithms in convex optimization. "
    "ICCV 2011, 1762-1769."
)
TOTAL_VARIATION = (
    "L. I. Rudin, S. Osher, E. Fatemi. Nonlinear total variation based noise removal algorithms. Physica D 60, "
    "259-268, 1992."
)
SUPERVISED = (
    "K. H. Jin, M. T. McCann, E. Froustey, M. Unser. Deep convolutional neural network for inverse problems in "
    "imaging. IEEE Transactions on Image Processing 26(9), 4509-4522, 2017."
)
DDS = (
    "H. Chung, S. Lee, J. C. Ye. Decomposed diffusion sampler for accelerating large-scale inverse problems. ICLR "
    "2024. arXiv:2303.05754."
)
DIFFPIR = (
    "Y. Zhu, K. Zhang, J. Liang, J. Cao, B. Wen, R. Timofte, L. Van Gool. Denoising diffusion models for plug-and-play "
    "image restoration. CVPR Workshops 2023. arXiv:2305.08995."
)
CCDF = (
    "H. Chung, B. Sim, J. C. Ye. Come-closer-diffuse-faster: accelerating conditional diffusion models for inverse "
    "problems through stochastic contraction. CVPR 2022. arXiv:2112.05146."
)
RESAMPLE = (
    "B. Song, S. M. Kwon, Z. Zhang, X. Hu, Q. Qu, L. Shen. Solving inverse problems with latent diffusion models via "
    "hard data consistency. ICLR 2024. arXiv:2307.08123."
)
PSLD = (
    "L. Rout, N. Raoof, G. Daras, C. Caramanis, A. G. Dimakis, S. Shakkottai. Solving linear inverse problems "
    "provably via posterior sampling with latent diffusion models. NeurIPS 2023. arXiv:2307.00619."
)
PNP_DM = (
    "Z. Wu, Y. Sun, Y. Chen, B. Zhang, Y. Yue, K. L. Bouman. Principled probabilistic imaging using diffusion models "
    "as plug-and-play priors. NeurIPS 2024. arXiv:2405.18782."
)
SPLIT_GIBBS = (
    "M. Vono, N. Dobigeon, P. Chainais. Split-and-augmented Gibbs sampler: application to large-scale inference "
    "problems. IEEE Transactions on Signal Processing 67(6), 1648-1661, 2019."
)
DPM_SOLVER = (
    "C. Lu, Y. Zhou, F. Bao, J. Chen, C. Li, J. Zhu. DPM-Solver++: fast solver for guided sampling of diffusion "
    "probabilistic models. arXiv:2211.01095, 2022."
)
DPS = (
    "H. Chung, J. Kim, M. T. McCann, M. L. Klasky, J. C. Ye. Diffusion posterior sampling for general noisy inverse "
    "problems. ICLR 2023. arXiv:2209.14687."
)
PIGDM = (
    "J. Song, A. Vahdat, M. Mardani, J. Kautz. Pseudoinverse-guided diffusion models for inverse problems. ICLR 2023."
)
RED_DIFF = (
    "M. Mardani, J. Song, J. Kautz, A. Vahdat. A variational perspective on solving inverse problems with diffusion "
    "models. ICLR 2024. arXiv:2305.04391."
)
DIFFUSION_MBIR = (
    "H. Chung, D. Ryu, M. T. McCann, M. L. Klasky, J. C. Ye. Solving 3D inverse problems using pre-trained 2D "
    "diffusion models. CVPR 2023. arXiv:2211.10655."
)
SCORE_SDE = (
    "Y. Song, J. Sohl-Dickstein, D. P. Kingma, A. Kumar, S. Ermon, B. Poole. Score-based generative modeling through "
    "stochastic differential equations. ICLR 2021. arXiv:2011.13456."
)
