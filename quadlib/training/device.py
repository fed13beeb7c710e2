"""Where a run computes, in which precision, and from which seeds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


class DeviceError(ValueError):
    """The device asked for is not there; the message names it and a way out."""


def choose_device(name: str) -> torch.device:
    """The torch device of a setting; auto is CUDA where there is one. Raises DeviceError when it is
    not there.
    """
    try:
        device = torch.device(
            ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
        )
    except RuntimeError:
        raise DeviceError(
            f"device: {name!r} is no device; choose auto, cpu, cuda or cuda:N"
        ) from None
    there = torch.accelerator.current_accelerator(check_available=True)
    count = torch.accelerator.device_count() if there and there.type == device.type else 0
    if device.type != "cpu" and (device.index or 0) >= count:
        raise DeviceError(
            f"device: {name!r} asked for, but this torch sees {count} devices of that type; choose "
            "auto or cpu"
        )
    return device


def amp_dtype(name: str, device: torch.device) -> torch.dtype | None:
    """The autocast dtype of a setting, None for none."""
    return {
        "auto": torch.bfloat16 if device.type == "cuda" else None,
        "off": None,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
    }[name]


def seed_everything(seed: int, epoch: int, *further: int) -> None:
    """Seeds the global generators from (seed, epoch), and what is told further: dropout draws from
    torch's, user code may draw from the others.
    """
    state = int(np.random.SeedSequence([seed, epoch, *further]).generate_state(1)[0])
    torch.manual_seed(state)
    random.seed(state)
    np.random.seed(state)  # noqa: NPY002 - the legacy generator is what user code may draw from


def random_state() -> dict[str, Any]:
    """Where the global generators are, as plain types and tensors."""
    name, keys, *place = np.random.get_state()  # noqa: NPY002
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *place],
        "python": [version, torch.tensor(words), gauss],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Puts the global generators to where `random_state` found them; those of a GPU only where
    there are as many.
    """
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    name, keys, *place = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *place))  # noqa: NPY002
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words.tolist()), gauss))


@contextmanager
def global_generators_kept() -> Iterator[None]:
    """Afterwards Python's, numpy's and torch's global generators, of every device, are where they
    were before: what is drawn inside follows from own seeds alone.
    """
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
