"""Checksums of tensors and of generators of random numbers: equal for what is equal bit for bit."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

MOST_BYTES = 64 << 20  # of one tensor; of larger ones the first part is compared


def checksum(tensor: Tensor) -> int:
    """The same for the same numbers, bit for bit."""
    flat = tensor.detach().reshape(-1)[: MOST_BYTES // max(tensor.element_size(), 1)]
    return zlib.crc32(flat.cpu().contiguous().view(torch.uint8).numpy().data)


def random_state(generator: str) -> int:
    """Of a generator's state: "torch" (that of the CPU), "numpy" (the global one) or "random"."""
    return zlib.crc32(STATES[generator]())


def _numpy_state() -> bytes:
    state: Any = np.random.get_state(legacy=False)  # noqa: NPY002
    inner = state["state"]
    return bytes(np.asarray(inner["key"]).data) + str(inner["pos"]).encode()


STATES: dict[str, Callable[[], Any]] = {
    "torch": lambda: torch.get_rng_state().numpy().data,
    "numpy": _numpy_state,
    "random": lambda: repr(random.getstate()).encode(),
}
