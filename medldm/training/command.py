"""What both trainings start from: a configuration, the scans, a device."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from accelerate import Accelerator

from medldm.errors import UsageError
from medldm.host import Host
from medldm.host.options import build
from medldm.host.shipped import shipped
from medldm.host.yaml_file import parse_scalar, read_mapping
from medldm.inference.conditioning import Conditioning
from medldm.priors.card_file import read_card
from medldm.priors.catalogue import find_prior
from medldm.priors.family import PriorFamily
from medldm.training.beginning import Role, begun_at
from medldm.training.cards import units_of
from medldm.training.config import TrainConfig
from medldm.training.loop import Tell
from medldm.training.patches import PatchSampler, axis_shares
from medldm.training.scans import read_scans
from medldm.training.training_scan import TrainingScan


@dataclass(frozen=True, eq=False)
class Prepared:
    """What both trainings start from.

    Attributes:
        family: which knows the networks.
        config: of the run.
        written: the configuration as it was written, which with the scans makes two runs the same.
        scans: all of them.
        trained: draws patches to learn from.
        held_back: draws patches of subjects that are not trained on.
        accelerator: device, precision and processes.
        command: that made the run, for the card.
    """

    family: PriorFamily
    config: TrainConfig
    written: Mapping[str, Any]
    scans: list[TrainingScan]
    trained: PatchSampler
    held_back: PatchSampler
    accelerator: Accelerator
    command: str

    def job(self) -> str:
        """Hash of what makes two runs the same: the configuration without its section ``run``, and the scans.

        An autoencoder, and a prior that the weights begin at, count by their weights, wherever they lie.
        """
        written = {name: value for name, value in self.written.items() if name != "run"}
        if self.config.autoencoder:
            written["autoencoder"] = _hashes(Path(self.config.autoencoder))
        if self.config.begin_at:
            written["begin_at"] = _hashes(find_prior(self.config.begin_at))
        scans = [scan.identity for scan in self.scans]
        return hashlib.sha256(json.dumps([written, scans], sort_keys=True, default=str).encode()).hexdigest()


def _hashes(folder: Path) -> dict[str, str]:
    return {role: file.sha256 for role, file in read_card(folder).weights.items()}


def read_config(
    name_or_path: str | Path, assignments: Sequence[str] = (), *, role: Role = "denoiser", begin_at: str = ""
) -> tuple[TrainConfig, dict[str, Any]]:
    """A configuration that comes with medldm, by name, or one of your own, by path.

    Args:
        name_or_path: ``slice-pixel`` or ``my.yaml``.
        assignments: ``section.key=value``.
        role: of the network that is trained.
        begin_at: prior whose weights the training begins at, in place of what the file says.

    Returns:
        The configuration, with what weights to begin at bring along, and what it was read from.

    Raises:
        UsageError: ``E-TRN-21`` there is none of that name, ``E-TRN-20`` an assignment is none, ``E-TRN-34`` the
            training cannot begin at those weights, ``E-OPT-..`` and ``E-YML-..`` what is wrong in it, by name.
        ComponentMissing: ``E-PRI-..`` there is no such prior to begin at.
    """
    path = config_path(name_or_path)
    content = read_mapping(path)
    for assignment in assignments:
        _assign(content, assignment)
    if begin_at:
        content["begin_at"] = begin_at
    config = cast(TrainConfig, build(TrainConfig, content, subject=f"training configuration {path.stem!r}"))
    return begun_at(config, role), content


def config_path(name_or_path: str | Path) -> Path:
    """The file of a configuration."""
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return path
    known = {file.stem: file for file in sorted((shipped("configs") / "train").glob("*.yaml"))}
    if str(name_or_path) not in known:
        raise UsageError(
            "E-TRN-21",
            f"There is no training configuration {str(name_or_path)!r}.",
            why=f"Those that come with medldm are {', '.join(known)}; your own is named by a path ending in .yaml.",
            fix=f"Check the name; they lie in {shipped('configs') / 'train'}, for you to copy and change.",
        )
    return known[str(name_or_path)]


def _assign(content: dict[str, Any], assignment: str) -> None:
    where, equals, text = assignment.partition("=")
    keys = where.strip().split(".")
    node: Any = content
    for key in keys[:-1]:
        node = node.setdefault(key, {}) if isinstance(node, dict) else None
    if not equals or not all(keys) or not isinstance(node, dict):
        raise UsageError(
            "E-TRN-20",
            f"--set {assignment!r} is not of the form section.key=value.",
            fix="For example: --set run.steps=2000",
        )
    node[keys[-1]] = parse_scalar(text)


def prepare(
    host: Host,
    folders: Sequence[Path],
    config: TrainConfig,
    written: Mapping[str, Any],
    tell: Tell,
    *,
    command: str = "",
    device: str = "auto",
) -> Prepared:
    """Read the scans and set the device up.

    Args:
        host: plugins.
        folders: of the scans.
        config: of the run.
        written: what it was read from.
        tell: receives ``(stage, message, fields)``.
        command: that made the run.
        device: ``auto``, ``cpu`` or ``cuda``; ``accelerate launch`` chooses among several GPUs.

    Raises:
        UsageError: ``E-TRN-0x`` what is wrong with the scans or their rules, ``E-TRN-22`` no such device.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError("E-TRN-22", f"There is no device {device!r} for training.", fix="auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("E-TRN-22", "There is no CUDA device.", fix="Train with --device cpu, or auto.")
    family = cast(PriorFamily, host.build("priors", config.card.family, {}))
    cpu = device == "cpu" or not torch.cuda.is_available()
    precision = config.run.precision
    if not cpu:
        # Patches come in few sizes, each worth a search for its fastest convolutions.
        torch.backends.cudnn.benchmark = True
        if precision == "bf16" and not torch.cuda.is_bf16_supported():
            tell("warning", "this GPU has no bfloat16: trained in single precision", {})
            precision = "no"
    accelerator = Accelerator(cpu=cpu, mixed_precision=precision)
    units = units_of(config)
    scans = read_scans(host, folders, config.data, lambda text: tell("scans", text, {}), config.patches, units)
    conditioning = Conditioning(config.card.facts.classes, config.card.facts.numbers)
    _require_known_facts(scans, conditioning, config)
    trained, held_back = (
        PatchSampler([s for s in scans if s.held_back is held], config, conditioning, augment=not held)
        for held in (False, True)
    )
    return Prepared(family, config, written, scans, trained, held_back, accelerator, command)


def _require_known_facts(scans: Sequence[TrainingScan], conditioning: Conditioning, config: TrainConfig) -> None:
    for scan in scans:
        facts: dict[str, Any] = {name: value for name, value in scan.facts.items() if name in conditioning.names}
        axes = [axis for axis, share in enumerate(axis_shares(scan, config.patches)) if share]
        for axis in axes or [max(range(3), key=lambda a: scan.spacing[a])]:
            if "plane" in conditioning.names and config.patches.dimensions == 2:
                facts["plane"] = scan.planes[axis]
            try:
                conditioning.vector(facts)
            except ValueError as error:
                raise UsageError(
                    "E-TRN-04",
                    f"The network could not be told the facts of {scan.subject}: {error}.",
                    why="The rule's facts and the planes of its patches are told by the classes of the card.",
                    fix="Correct data.rules or patches.planes, or add the value to card.facts.classes.",
                ) from error
