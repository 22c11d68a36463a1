"""Weights saved by pickle: refused, with the reason and the way out."""

from __future__ import annotations

from pathlib import Path

from medldm.errors import ComponentMissing

SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle")


def pickles_in(folder: Path) -> list[Path]:
    """Files under a folder that are pickles by their ending, at most two levels down."""
    return sorted(
        path for depth in ("*", "*/*") for path in folder.glob(depth) if path.suffix in SUFFIXES and path.is_file()
    )


def pickle_refused(file: Path) -> ComponentMissing:
    """``E-PRI-03``: the error for a file of weights that is a pickle, with the lines that convert it elsewhere."""
    target = file.with_suffix(".safetensors").name
    return ComponentMissing(
        "E-PRI-03",
        f"{file} is a pickle, and medldm loads safetensors only.",
        why="A pickle is a program: whoever made it can run anything on the computer that opens it.",
        fix="If you trust its origin, convert it elsewhere, on a computer without patient data, and take the result:\n"
        f'  python -c "import torch; from safetensors.torch import save_file; '
        f"w = torch.load('{file.name}', map_location='cpu', weights_only=True); "
        f"w = w.get('state_dict', w); "
        f"save_file({{k: v.clone().contiguous() for k, v in w.items()}}, '{target}')\"",
    )
