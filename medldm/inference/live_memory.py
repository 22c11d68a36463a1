"""How much memory a piece of work holds at its peak, counted tensor by tensor, on any device."""

from __future__ import annotations

import weakref
from collections.abc import Callable, MutableMapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary


def live_bytes(work: Callable[[], object]) -> int:
    """Bytes of all tensors that ``work`` makes and holds at the same time, at the peak; its result included.

    What libraries allocate for themselves (workspaces of convolutions) is not seen. Compiled networks run as they were
    before compilation.

    Args:
        work: run once.
    """
    counter = _LiveBytes()
    with torch.compiler.set_stance("force_eager"), counter:
        work()
    return counter.peak


class _LiveBytes(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peak = 0
        self._known: MutableMapping[Any, bool] = WeakIdKeyDictionary()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        # What comes in without having been made here (weights, the input) is the caller's.
        for tensor in self._tensors((args, kwargs)):
            self._known.setdefault(tensor.untyped_storage(), True)
        result = func(*args, **(kwargs or {}))
        for tensor in self._tensors(result):
            storage = tensor.untyped_storage()
            if storage not in self._known:
                self._known[storage] = True
                self._hold(storage.nbytes())
                weakref.finalize(storage, self._hold, -storage.nbytes())
        return result

    def _tensors(self, tree: object) -> list[Tensor]:
        return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]

    def _hold(self, size: int) -> None:
        self.live += size
        self.peak = max(self.peak, self.live)
