"""Prior folders: written whole, read strictly; everything that can be wrong with one has its error."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from medldm.errors import ComponentMissing, UsageError
from medldm.priors.card import Intensity, Latent, Prediction, PriorCard, Range, Weights
from medldm.priors.card_file import read_card, write_card
from medldm.priors.family import Networks
from medldm.priors.folder import load_networks, load_prior, verify, write_prior
from medldm.priors.weight_file import MAX_HEADER_BYTES

CARD = PriorCard(
    name="toy-2d",
    family="toy",
    summary="A toy.",
    modality="MR",
    quantity="arbitrary",
    intensity=Intensity("percentile"),
    dimensions=2,
    spacing_mm=Range(0.5, 2.0),
    sigma=Range(0.02, 20.0),
    prediction=Prediction("edm"),
    networks={"denoiser": {"width": 3}},
    weights={},
    licence="CC0-1.0",
)


def build(networks: Mapping[str, Mapping[str, Any]]) -> Networks:
    """Two layers each; a width of 99 is an option that the family refuses."""
    made = {}
    for role, options in networks.items():
        width = options["width"]
        if width == 99:
            raise UsageError("E-OPT-04", "'width' should be less than 99.")
        made[role] = nn.Sequential(nn.Conv2d(1, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, 1, 3))
    return Networks(made.get("denoiser"), made.get("autoencoder"))


def state() -> dict[str, Tensor]:
    torch.manual_seed(3)
    return build(CARD.networks).named()["denoiser"].state_dict()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_prior(tmp_path / "toy-2d", CARD, {"denoiser": state()})
    return tmp_path / "toy-2d"


def code_of(action: Callable[[], object]) -> str:
    with pytest.raises((ComponentMissing, UsageError)) as caught:
        action()
    assert caught.value.what
    assert caught.value.fix
    return caught.value.code


def replace_weights(folder: Path, tensors: dict[str, Tensor]) -> None:
    """Other weights with a card that vouches for them."""
    path = folder / "denoiser.safetensors"
    save_file(tensors, path)
    card = read_card(folder)
    write_card(folder, replace(card, weights={"denoiser": Weights(path.name, digest(path))}))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_what_is_written_is_loaded_in_single_precision(folder: Path) -> None:
    networks = load_networks(folder, read_card(folder), build)
    loaded = networks.named()["denoiser"].state_dict()
    for name, tensor in state().items():
        expected = tensor.half().float() if tensor.is_floating_point() else tensor
        assert torch.equal(loaded[name], expected), name
        assert loaded[name].dtype == tensor.dtype
    assert not networks.named()["denoiser"].training
    assert not any(parameter.requires_grad for parameter in networks.named()["denoiser"].parameters())
    assert verify(folder, build) == []


def test_floating_tensors_are_stored_in_half_precision_and_counts_as_they_are(folder: Path) -> None:
    stored = load_file(folder / "denoiser.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16, torch.int64}
    assert read_card(folder).weights["denoiser"].sha256 == digest(folder / "denoiser.safetensors")


def test_single_precision_on_request_is_exact(tmp_path: Path) -> None:
    write_prior(tmp_path / "exact", CARD, {"denoiser": state()}, dtype=torch.float32)
    loaded = load_networks(tmp_path / "exact", read_card(tmp_path / "exact"), build).named()["denoiser"].state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state().items())


def test_an_existing_folder_stays_unless_it_is_a_prior_to_be_replaced(folder: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert code_of(lambda: write_prior(folder, CARD, {"denoiser": state()})) == "E-PRI-18"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years of work")
    assert code_of(lambda: write_prior(foreign, CARD, {"denoiser": state()}, overwrite=True)) == "E-PRI-18"
    assert (foreign / "thesis.tex").read_text() == "years of work"
    write_prior(folder, replace(CARD, summary="Another toy."), {"denoiser": state()}, overwrite=True)
    assert read_card(folder).summary == "Another toy."
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign", "toy-2d"]


def test_a_failed_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    write_prior(tmp_path / "toy", CARD, {"denoiser": state()})
    before = (tmp_path / "toy" / "card.yaml").read_bytes()
    again = replace(CARD, summary="new")
    for name in ("write_bytes", "rename"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, name, full)
            assert code_of(lambda: write_prior(tmp_path / "new", CARD, {"denoiser": state()})) == "E-PRI-19"
            assert code_of(lambda: write_prior(tmp_path / "toy", again, {"denoiser": state()}, overwrite=True)) == (
                "E-PRI-19"
            )
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]
    assert (tmp_path / "toy" / "card.yaml").read_bytes() == before


def test_when_the_new_folder_cannot_take_its_place_the_old_one_comes_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def refuses_new(path: Path, target: Path) -> Path:
        if ".part-" in path.parent.name:
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuses_new)
    assert code_of(lambda: write_prior(folder, CARD, {"denoiser": state()}, overwrite=True)) == "E-PRI-19"
    assert verify(folder, build) == []
    assert [path.name for path in folder.parent.iterdir()] == ["toy-2d"]


@pytest.mark.parametrize(
    ("value", "dtype", "reason"),
    [(float("nan"), torch.float32, "NaN"), (float("inf"), torch.float16, "NaN"), (1e5, torch.float16, "too large")],
)
def test_weights_that_are_no_numbers_are_not_written(
    tmp_path: Path, value: float, dtype: torch.dtype, reason: str
) -> None:
    broken = state()
    broken["0.bias"][0] = value
    with pytest.raises(UsageError, match=reason) as caught:
        write_prior(tmp_path / "toy", CARD, {"denoiser": broken}, dtype=dtype)
    assert caught.value.code == "E-PRI-20"
    assert list(tmp_path.iterdir()) == []


def test_networks_and_weights_go_together(tmp_path: Path) -> None:
    assert code_of(lambda: write_prior(tmp_path / "a", CARD, {})) == "E-PRI-22"
    assert code_of(lambda: write_prior(tmp_path / "a", CARD, {"encoder": state()})) == "E-PRI-22"
    inside = replace(CARD, weights={"denoiser": Weights("denoiser.safetensors", "0" * 64)})
    assert code_of(lambda: write_prior(tmp_path / "a", inside, {})) == "E-PRI-22"
    assert list(tmp_path.iterdir()) == []


def test_two_priors_share_the_file_of_one(folder: Path) -> None:
    card = replace(
        CARD,
        networks={**CARD.networks, "autoencoder": {"width": 3}},
        weights={"autoencoder": Weights("../toy-2d/denoiser.safetensors", "")},
        latent=Latent(scale=1.0),
    )
    written = write_prior(folder.parent / "second", card, {"denoiser": state()})
    assert written.weights["autoencoder"].sha256 == digest(folder / "denoiser.safetensors")
    assert verify(folder.parent / "second", build) == []
    (folder / "denoiser.safetensors").unlink()
    assert [problem.code for problem in verify(folder.parent / "second", build)] == ["E-PRI-08"]


def test_no_folder_and_no_card(tmp_path: Path) -> None:
    assert code_of(lambda: load_prior(tmp_path / "nothing", build)) == "E-PRI-01"
    assert code_of(lambda: load_prior(tmp_path, build)) == "E-PRI-02"


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.ckpt", "unet/pytorch_model.bin"])
def test_pickles_are_refused_unopened_with_the_way_out(tmp_path: Path, name: str) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "exploded",))

    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ComponentMissing) as caught:
        read_card(tmp_path)
    assert caught.value.code == "E-PRI-03"
    assert "run anything" in caught.value.why
    assert "save_file" in caught.value.fix
    assert not (tmp_path / "exploded").exists()


def test_a_pickle_in_the_place_of_the_weights(folder: Path) -> None:
    (folder / "denoiser.safetensors").rename(folder / "denoiser.pt")
    assert code_of(lambda: load_prior(folder, build)) == "E-PRI-03"
    card = (folder / "card.yaml").read_text().replace("denoiser.safetensors", "denoiser.pt")
    (folder / "card.yaml").write_text(card)
    assert code_of(lambda: load_prior(folder, build)) == "E-PRI-03"


def test_the_command_that_converts_a_pickle_works(tmp_path: Path) -> None:
    import subprocess
    import sys

    torch.save({"state_dict": {"a": torch.arange(3.0)}}, tmp_path / "model.ckpt")
    with pytest.raises(ComponentMissing) as caught:
        read_card(tmp_path)
    command = caught.value.fix.partition("\n")[2].strip()
    assert command.startswith('python -c "')
    script = command.removeprefix('python -c "').removesuffix('"')
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    assert torch.equal(load_file(tmp_path / "model.safetensors")["a"], torch.arange(3.0))


def test_tampered_weights(folder: Path) -> None:
    path = folder / "denoiser.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert code_of(lambda: load_prior(folder, build)) == "E-PRI-10"


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_truncated_weights(folder: Path, keep: int) -> None:
    path = folder / "denoiser.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    assert code_of(lambda: load_prior(folder, build)) == "E-PRI-11"


def test_bytes_behind_the_data(folder: Path) -> None:
    path = folder / "denoiser.safetensors"
    path.write_bytes(path.read_bytes() + b"payload")
    assert code_of(lambda: load_prior(folder, build)) == "E-PRI-11"


def file_of(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


FLOATS = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (file_of({}, length=MAX_HEADER_BYTES + 1), "E-PRI-12"),
        (file_of({}, length=2**63), "E-PRI-12"),
        (file_of({}, length=1000), "E-PRI-11"),
        (file_of(b"no json"), "E-PRI-11"),
        (file_of(b"[" * 100_000), "E-PRI-11"),
        (file_of([1]), "E-PRI-11"),
        (file_of({"a": {"dtype": "F32"}}), "E-PRI-11"),
        (file_of({"a": {**FLOATS, "shape": [10**12, 10**12]}}, bytes(8)), "E-PRI-11"),
        (file_of({"a": {**FLOATS, "shape": [-2]}}, bytes(8)), "E-PRI-11"),
        (file_of({"a": {**FLOATS, "shape": [True, 2]}}, bytes(8)), "E-PRI-11"),
        (file_of({"a": FLOATS, "b": FLOATS}, bytes(8)), "E-PRI-11"),
        (file_of({"a": {**FLOATS, "data_offsets": [8, 16]}}, bytes(16)), "E-PRI-11"),
        (file_of(b'{"a": %b, "a": %b}' % ((json.dumps(FLOATS).encode(),) * 2), bytes(8)), "E-PRI-11"),
        (file_of({"a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}, bytes(2)), "E-PRI-16"),
        (file_of({"a": FLOATS, "__metadata__": {"format": "pt"}}, bytes(8)), "E-PRI-10"),
    ],
)
def test_files_that_lie_about_themselves(folder: Path, content: bytes, code: str) -> None:
    (folder / "denoiser.safetensors").write_bytes(content)
    assert verify(folder)[0].code == code


def test_missing_and_surplus_weights(folder: Path) -> None:
    tensors = state()
    tensors["9.weight"] = tensors.pop("0.weight")
    replace_weights(folder, tensors)
    with pytest.raises(ComponentMissing, match=r"without '0\.weight', with '9\.weight'") as caught:
        load_networks(folder, read_card(folder), build)
    assert caught.value.code == "E-PRI-13"


def test_weights_of_other_shapes(folder: Path) -> None:
    replace_weights(folder, {**state(), "0.bias": torch.zeros(7)})
    with pytest.raises(ComponentMissing, match=r"0.bias is \[7\], the networks have \[3\]") as caught:
        load_networks(folder, read_card(folder), build)
    assert caught.value.code == "E-PRI-14"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(folder: Path, value: float) -> None:
    replace_weights(folder, {**state(), "0.bias": torch.full((3,), value)})
    assert code_of(lambda: load_prior(folder, build)) == "E-PRI-15"


def test_networks_that_cannot_be_built(folder: Path) -> None:
    card = replace(read_card(folder), networks={"denoiser": {"width": 99}})
    assert code_of(lambda: load_networks(folder, card, build)) == "E-PRI-17"
    assert code_of(lambda: load_networks(folder, card, lambda _: Networks())) == "E-PRI-17"
    odd = replace(read_card(folder), networks={"denoiser": {"width": -1}})
    with pytest.raises(ComponentMissing, match="RuntimeError") as caught:
        load_networks(folder, odd, build)
    assert caught.value.code == "E-PRI-17"


def test_a_link_out_of_the_folder_of_priors(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "secret.safetensors"
    (folder / "denoiser.safetensors").rename(elsewhere)
    (folder / "denoiser.safetensors").symlink_to(elsewhere)
    assert code_of(lambda: load_prior(folder, build)) == "E-PRI-09"


def test_a_folder_that_is_itself_a_link_is_where_it_leads(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    link = tmp_path_factory.mktemp("project") / "toy-2d"
    link.symlink_to(folder)
    assert verify(link, build) == []


def test_an_autoencoder_alone_is_no_prior(tmp_path: Path) -> None:
    card = replace(CARD, networks={"autoencoder": {"width": 3}}, latent=Latent(scale=0.5))
    write_prior(tmp_path / "half", card, {"autoencoder": state()})
    assert load_networks(tmp_path / "half", read_card(tmp_path / "half"), build).denoiser is None
    assert code_of(lambda: load_prior(tmp_path / "half", build)) == "E-PRI-23"


def test_verification_lists_everything(folder: Path) -> None:
    card = replace(
        CARD,
        networks={**CARD.networks, "autoencoder": {"width": 3}},
        weights={"autoencoder": Weights("../toy-2d/denoiser.safetensors", "")},
        latent=Latent(scale=1.0),
    )
    second = folder.parent / "second"
    write_prior(second, card, {"denoiser": {**state(), "0.bias": torch.zeros(7), "other": torch.zeros(1)}})
    (folder / "denoiser.safetensors").unlink()
    problems = verify(second, build)
    assert [problem.code for problem in problems] == ["E-PRI-13", "E-PRI-14", "E-PRI-08"]
    assert all(problem.severity == "error" and problem.sentence for problem in problems)
    assert [problem.code for problem in verify(folder.parent / "nothing", build)] == ["E-PRI-01"]
