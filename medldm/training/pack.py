"""Choosing a small part of the training scans that teaches nearly as much: to carry to another machine."""

from __future__ import annotations

import heapq
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from medldm.errors import UsageError
from medldm.inference import Noise
from medldm.training.config import TrainConfig
from medldm.training.pack_file import largest_size, picture, write_pack
from medldm.training.patches import ABOVE, axis_shares
from medldm.training.training_scan import TrainingScan
from medldm.training.unit_range import range_of

# A piece is this much larger than the largest patch, which is moved, turned and zoomed within it.
_ROOM = 1.35
# Slices with a smaller share of object than this are left out.
_EMPTY = 0.03
# Of the file, for its directory.
_SPARE, _ENTRY = 2000, 400


@dataclass
class _Source:
    """Pieces of one scan along one axis, in an order in which any beginning is spread evenly."""

    scan: TrainingScan
    weight: float
    pieces: Iterator[TrainingScan]
    taken: list[TrainingScan] = field(default_factory=list)
    files: list[bytes] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(map(len, self.files))


def pack(
    scans: Sequence[TrainingScan], config: TrainConfig, path: Path, max_bytes: int, tell: Callable[[str], None]
) -> int:
    """Write the packed set of a configuration.

    Each scan, and within it each plane, is first given one piece and then room in proportion to how often it is drawn.
    A piece is a slice (a run of neighbouring ones for slabs, a block for volumes) cropped to the object.

    Args:
        scans: all of them, held back or not.
        config: whose weights, planes and patches choose.
        path: of the file.
        max_bytes: its largest size.
        tell: receives a summary.

    Returns:
        Size of the file.

    Raises:
        UsageError: ``E-TRN-42`` it cannot be written, ``E-TRN-43`` too small a size for any choice,
            ``E-TRN-44`` something else is there.
    """
    sources = [source for scan in scans for source in _sources(scan, config)]
    _fill(sources, config, max_bytes - _SPARE)
    for held_back in (False, True):
        if not any(source.taken for source in sources if source.scan.held_back is held_back):
            raise UsageError(
                "E-TRN-43",
                f"{max_bytes} bytes are too few for a set with subjects to train on and subjects held back.",
                fix="Give a larger --max-size.",
            )
    pieces = _weighted(sources)
    files = [file for source in sources for file in source.files]
    write_pack(path, pieces, files, config.data, config.patches)
    size = path.stat().st_size
    samples = sum(piece.data.numel() for piece in pieces)
    whole = sum(scan.data.numel() for scan in scans)
    subjects = {piece.subject for piece in pieces}
    tell(
        f"{len(pieces)} pieces of {len(subjects)} of {len({scan.subject for scan in scans})} subjects, "
        f"{100 * samples / whole:.1f} % of all samples, {size / 2**20:.2f} MiB, {8 * size / samples:.2f} bits a sample"
    )
    return size


def _fill(sources: Sequence[_Source], config: TrainConfig, max_bytes: int) -> None:
    # The least served first; at the beginning all are equal, and the heavy ones come first.
    waiting = [(0.0, -source.weight, index) for index, source in enumerate(sources)]
    heapq.heapify(waiting)
    left = max_bytes
    while waiting:
        _, _, index = heapq.heappop(waiting)
        source = sources[index]
        piece = next(source.pieces, None)
        if piece is None:
            continue
        modality = "MR" if piece.is_mr else "CT"
        file = picture(piece.data, config.data.intensity[modality], is_mr=piece.is_mr)  # type: ignore[index]
        if len(file) + _ENTRY > left:
            continue
        left -= len(file) + _ENTRY
        source.taken.append(piece)
        source.files.append(file)
        heapq.heappush(waiting, (source.bytes / source.weight, -source.weight, index))


def _weighted(sources: Sequence[_Source]) -> list[TrainingScan]:
    """Pieces are drawn, in all, as often as their scan was; what found no room leaves its share to its like."""
    total: dict[tuple[object, ...], float] = defaultdict(float)
    kept: dict[tuple[object, ...], float] = defaultdict(float)
    for source in sources:
        total[_kind(source)] += source.weight
        kept[_kind(source)] += source.weight if source.taken else 0.0
    pieces = []
    for source in sources:
        for piece in source.taken:
            share = total[_kind(source)] / kept[_kind(source)] / len(source.taken)
            pieces.append(replace(piece, weight=float(f"{source.weight * share:.6g}")))
    return pieces


def _kind(source: _Source) -> tuple[object, ...]:
    return source.scan.held_back, *sorted(source.scan.facts.items())


def _sources(scan: TrainingScan, config: TrainConfig) -> list[_Source]:
    if config.patches.dimensions == 3:
        return [_Source(scan, scan.weight, _blocks(scan, config))]
    shares = axis_shares(scan, config.patches)
    if sum(shares) == 0:
        shares[int(np.argmax(scan.spacing))] = 1.0
    return [
        _Source(scan, scan.weight * share / sum(shares), _runs(scan, axis, config))
        for axis, share in enumerate(shares)
        if share > 0
    ]


def _runs(scan: TrainingScan, axis: int, config: TrainConfig) -> Iterator[TrainingScan]:
    slab = min(config.patches.slab, scan.data.shape[axis])
    order = [axis, *(a for a in range(3) if a != axis)]
    whole = scan.data.permute(order)
    size, values = _piece_size(config), range_of(config, is_mr=scan.is_mr)
    generator = Noise(config.seed, f"{scan.subject}/{axis}").stream("pack")
    for place in _spread(whole.shape[0] // slab):
        run = whole[place * slab : (place + 1) * slab]
        inside = values.unit(run) > ABOVE
        if float(inside.float().mean()) < _EMPTY:
            continue
        rows, columns = (_extent(inside.any(0).any(1 - a), size, generator) for a in (0, 1))
        yield _cut(scan, run[:, rows, columns], order)


def _blocks(scan: TrainingScan, config: TrainConfig) -> Iterator[TrainingScan]:
    size, values = _piece_size(config), range_of(config, is_mr=scan.is_mr)
    counts = [max(1, math.ceil(n / size)) for n in scan.data.shape]
    generator = Noise(config.seed, scan.subject).stream("pack")
    places = [(z, y, x) for z in range(counts[0]) for y in range(counts[1]) for x in range(counts[2])]
    for index in generator.permutation(len(places)):
        # Blocks overlap rather than leave a rest.
        corner = [
            round(place * max(0, n - size) / max(1, count - 1))
            for place, n, count in zip(places[index], scan.data.shape, counts, strict=True)
        ]
        z, y, x = (slice(c, c + size) for c in corner)
        block = scan.data[z, y, x]
        if float((values.unit(block) > ABOVE).float().mean()) >= _EMPTY:
            yield _cut(scan, block, [0, 1, 2])


def _cut(scan: TrainingScan, data: Tensor, order: Sequence[int]) -> TrainingScan:
    planes, spacing = ([one[a] for a in order] for one in (scan.planes, scan.spacing))
    return replace(
        scan,
        data=data.contiguous(),
        planes=(planes[0], planes[1], planes[2]),  # type: ignore[arg-type]
        spacing=(spacing[0], spacing[1], spacing[2]),  # type: ignore[arg-type]
    )


def _piece_size(config: TrainConfig) -> int:
    return math.ceil(_ROOM * largest_size(config.patches))


def _extent(inside: Tensor, size: int, generator: np.random.Generator) -> slice:
    """From the first to the last sample of the object and a little air; at most ``size`` from a random place."""
    places = torch.nonzero(inside)[:, 0]
    first, last = max(0, int(places[0]) - 8), min(len(inside), int(places[-1]) + 9)
    if last - first > size:
        first = int(generator.integers(first, last - size + 1))
        last = first + size
    return slice(first, last)


def _spread(count: int) -> list[int]:
    """0 ... count - 1 in the order of van der Corput's sequence."""
    bits = max(1, (count - 1).bit_length())
    reversed_ = (int(f"{n:0{bits}b}"[::-1], 2) for n in range(2**bits))
    return [n for n in reversed_ if n < count]
