"""Weights saved by pickle: refused, with the reason and the way out."""

from __future__ import annotations

from pathlib import Path

from medldm.errors import ComponentMissing

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle")
DANGER = "A pickle is a program: whoever made it can run anything on the computer that opens it."


def pickles_in(folder: Path) -> list[Path]:
    """Files under a folder that are pickles by their ending, at most two levels down."""
    return sorted(
        path for depth in ("*", "*/*") for path in folder.glob(depth) if path.suffix in SUFFIXES and path.is_file()
    )


def pickle_refused(file: Path, way_out: str = "") -> ComponentMissing:
    """``E-PRI-03``: the error for weights that are a pickle.

    Args:
        file: the pickle.
        way_out: indented lines that convert it; those for a plain state dict where there are none.
    """
    target = file.with_suffix(".safetensors").name
    plain = (
        f'  python -c "import torch; from safetensors.torch import save_file; '
        f"w = torch.load('{file.name}', map_location='cpu', weights_only=True); "
        f"w = w.get('state_dict', w); "
        f"save_file({{k: v.clone().contiguous() for k, v in w.items()}}, '{target}')\""
    )
    return ComponentMissing(
        "E-PRI-03",
        f"{file} is a pickle, and medldm loads safetensors only.",
        why=DANGER,
        fix="If you trust its origin, convert it elsewhere, on a computer without patient data, and put the result "
        f"beside it:\n{way_out or plain}",
    )
