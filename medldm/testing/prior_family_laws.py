"""Laws of families of priors: folders made, damaged and converted. Each runs in an empty folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from medldm.errors import MedldmError
from medldm.priors.card import PriorCard, Weights
from medldm.priors.card_file import read_card, write_card
from medldm.priors.folder import verify, write_prior
from medldm.priors.model import PriorModel
from medldm.priors.weight_file import locate, sha256
from medldm.testing.examples import PriorExample
from medldm.testing.law import NotApplicable, require
from medldm.testing.prior_laws import Trial

PriorFamilyLaw = Callable[[PriorExample, Path], None]


def law_folders_are_sound(example: PriorExample, folder: Path) -> None:
    """What the example's makers write is verified without a complaint, and loading it changes no file."""
    for index, make in enumerate((example.make, *example.more)):
        path = make(_inside(folder, str(index)))
        before = _contents(folder)
        problems = [problem.sentence for problem in verify(path, example.family.build)]
        require(not problems, f"a fresh prior folder is refused: {problems}")
        model = example.family.load(path)
        require(model.card == read_card(path), "the loaded prior has another card than its folder")
        require(_contents(folder) == before, "loading a prior changed its folder")


def law_written_weights_denoise_alike(example: PriorExample, folder: Path) -> None:
    """Networks that are built, written and loaded again denoise as before."""
    for index, make in enumerate((example.make, *example.more)):
        card = read_card(make(_inside(folder, f"made-{index}")))
        networks = example.family.build(card.networks)
        states = {role: module.state_dict() for role, module in networks.named().items()}
        path = folder / f"written-{index}"
        write_prior(path, replace(card, weights={}), states, dtype=torch.float32)
        before, after = Trial.of(PriorModel(card, networks)), Trial.of(example.family.load(path))
        with torch.no_grad():
            prior, again = before.bound(), after.bound()
            x, sigma = before.noisy(prior, 1)
            require(torch.equal(prior.denoise(x, sigma), again.denoise(x, sigma)), "a loaded prior denoises otherwise")
            require(torch.equal(prior.decode(x), again.decode(x)), "a loaded prior decodes otherwise")


def law_refuses_damaged_weights(example: PriorExample, folder: Path) -> None:
    """Weights that are tampered with, truncated or missing are refused with a code."""
    source = example.make(_inside(folder, "whole"))
    for role, weights in _own(read_card(source)).items():
        content = locate(source, weights.file).read_bytes()
        for damage, left in (
            ("tampered with", content[:-1] + bytes([content[-1] ^ 1])),
            ("truncated", content[: len(content) // 2]),
            ("empty", b""),
            ("missing", None),
        ):
            path = _copy(source)
            file = locate(path, weights.file)
            file.unlink()
            if left is not None:
                file.write_bytes(left)
            _require_refusal(lambda path=path: example.family.load(path), f"weights of the {role} that are {damage}")  # type: ignore[misc]


def law_refuses_other_weights(example: PriorExample, folder: Path) -> None:
    """Weights of other names or shapes, or with NaN, are refused with a code even when the card vouches for them."""
    source = example.make(_inside(folder, "whole"))
    card = read_card(source)
    for role, weights in _own(card).items():
        tensors = load_file(locate(source, weights.file))
        name = next(name for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel())
        value = tensors[name]
        rest = {other: tensor for other, tensor in tensors.items() if other != name}
        for damage, others in (
            (f"lack {name!r}", rest),
            ("have one tensor more", {**tensors, "none.of.yours": torch.zeros(1)}),
            (f"have another shape in {name!r}", {**rest, name: torch.cat((value.flatten(), value.flatten()))}),
            (f"are NaN in {name!r}", {**rest, name: torch.full_like(value, float("nan"))}),
        ):
            path = _vouched(_copy(source), card, role, others)
            _require_refusal(lambda path=path: example.family.load(path), f"weights of the {role} that {damage}")  # type: ignore[misc]


def law_refuses_unknown_options(example: PriorExample, folder: Path) -> None:
    """A misspelt option of a network, or a network of an unknown role, is refused with a code, not ignored."""
    networks = read_card(example.make(_inside(folder, "whole"))).networks
    for role, options in networks.items():
        misspelt = {**networks, role: {**options, "no_such_option": 1}}
        _require_refusal(lambda given=misspelt: example.family.build(given), f"an unknown option of the {role}")  # type: ignore[misc]
    _require_refusal(lambda: example.family.build({**networks, "judge": {}}), "a network of an unknown role")


def law_converts(example: PriorExample, folder: Path) -> None:
    """A source of another program becomes a sound prior folder, which loads and denoises; the source stays."""
    source = _foreign(example, folder)
    before = _contents(source)
    target = folder / "converted"
    card = example.family.convert(source, target)
    require(card == read_card(target), "convert returns another card than it writes")
    problems = [problem.sentence for problem in verify(target, example.family.build)]
    require(not problems, f"the converted folder is refused: {problems}")
    require(_contents(source) == before, "converting changed the source")
    trial = Trial.of(example.family.load(target))
    with torch.no_grad():
        prior = trial.bound()
        denoised = prior.denoise(*trial.noisy(prior, 1))
    require(bool(torch.isfinite(denoised).all()), "the converted prior gives NaN or infinite values")


def law_declines_what_is_not_its_own(example: PriorExample, folder: Path) -> None:
    """A missing or empty folder, one of texts and one of pickles: refused with a code, and nothing is written."""
    text, pickles = _inside(folder, "text"), _inside(folder, "pickles")
    (text / "notes.txt").write_text("Dear colleague,\n")
    (pickles / "model.pt").write_bytes(b"\x80\x04N.")
    target = folder / "converted"
    for source in (folder / "missing", _inside(folder, "empty"), text, pickles):
        _require_refusal(lambda source=source: example.family.convert(source, target), f"the source {source.name!r}")  # type: ignore[misc]
        require(not target.exists(), f"the refused source {source.name!r} left a folder")


def law_declines_a_source_without_weights(example: PriorExample, folder: Path) -> None:
    """A source whose weights are missing or truncated is refused with a code, and nothing is written."""
    source = _foreign(example, folder)
    files = [path for path in sorted(source.rglob("*.safetensors")) if path.is_file()]
    if not files:
        raise NotApplicable("the foreign source of the example holds no safetensors")
    target = folder / "converted"
    for file in files:
        content = file.read_bytes()
        for damage, left in (("truncated", content[: len(content) // 2]), ("missing", None)):
            file.unlink()
            if left is not None:
                file.write_bytes(left)
            _require_refusal(lambda: example.family.convert(source, target), f"a source with {file.name} {damage}")
            require(not target.exists(), f"a source with {file.name} {damage} left a folder")
            file.write_bytes(content)


def _foreign(example: PriorExample, folder: Path) -> Path:
    if example.foreign is None:
        raise NotApplicable("the example has no source of another program")
    return example.foreign(_inside(folder, "foreign"))


def _own(card: PriorCard) -> dict[str, Weights]:
    """Files in the prior's own folder; damage to a sibling's would stay."""
    return {role: weights for role, weights in card.weights.items() if not weights.file.startswith("../")}


def _vouched(path: Path, card: PriorCard, role: str, tensors: dict[str, Tensor]) -> Path:
    """Weights replaced in a folder whose card is made to fit them."""
    file = locate(path, card.weights[role].file)
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, file)
    weights = {**card.weights, role: Weights(card.weights[role].file, sha256(file))}
    write_card(path, replace(card, weights=weights))
    return path


def _copy(source: Path) -> Path:
    """A fresh copy of a prior folder, beside it: siblings that its card refers to are still found."""
    target = source.with_name("damaged")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target


def _require_refusal(action: Callable[[], object], what: str) -> None:
    try:
        action()
    except MedldmError as error:
        require(bool(error.code and error.what), f"{what}: refused without a code or a sentence")
    except Exception as error:
        raise AssertionError(f"{what}: ends in {type(error).__name__} instead of a refusal: {error}") from error
    else:
        raise AssertionError(f"{what}: taken as if it were sound")


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def _inside(folder: Path, name: str) -> Path:
    inner = folder / name
    inner.mkdir()
    return inner


PRIOR_FAMILY_LAWS: tuple[PriorFamilyLaw, ...] = (
    law_folders_are_sound,
    law_written_weights_denoise_alike,
    law_refuses_damaged_weights,
    law_refuses_other_weights,
    law_refuses_unknown_options,
    law_converts,
    law_declines_what_is_not_its_own,
    law_declines_a_source_without_weights,
)
