"""Networks of the transformers library as encoders (DINOv2, DINOv3, V-JEPA 2, AST), from a local
folder or from the hub's cache: nothing is downloaded.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from quadlib.data.kinds import Kind
from quadlib.files import digest_bytes, digest_file
from quadlib.model.encoders.families import FAMILIES, Family, Source
from quadlib.model.encoders.frozen import INSTALL, EncoderError, FrozenEncoder
from quadlib.model.encoders.tuned import TunedEncoder, Tuning
from quadlib.registry import KINDS

PREPROCESSING = ("video_preprocessor_config.json", "preprocessor_config.json")
WEIGHTS = ("*.safetensors", "*.bin")


class HubEncoder:
    """The encoder `transformers`, which is named with its network: `transformers:FOLDER`, or
    `transformers:OWNER/NAME` for one in the hub's cache.
    """

    def kind(self, name: str, kind: str, tune: str = "") -> Kind:
        """The kind, as that network reads it: the store keeps its features where it is frozen, and
        its inputs where a part of it is trained. Raises EncoderError.
        """
        if find_spec("transformers") is None:
            raise EncoderError(f"the package transformers is missing: {INSTALL}")
        source = source_of(name.partition(":")[2])
        family = family_of(source)
        frozen = FrozenEncoder(
            features=family.width(source.network),
            readings=family.readings(source),
            encode=partial(encode, source.folder),
            weights=partial(digest, source.folder),
        )
        # The folder is no part of what numbers depend on.
        known = frozen.kind("transformers", kind, "")
        return _tuned(known, frozen, source, kind, Tuning.read(tune)) if tune else known


def _tuned(known: Kind, frozen: FrozenEncoder, source: Source, kind: str, tuning: Tuning) -> Kind:
    family, reading = family_of(source), frozen.readings[kind]
    return replace(
        known,
        axes=family.axes,
        constants={**known.constants, "kept": "inputs"},
        features=None if family.dtype == "uint8" else partial(prepare, source.folder),
        shape=lambda _, settings: family.shape(reading, settings, source),
        dtype=family.dtype,
        scaled_by_encoder=True,
        move=KINDS[kind].move if family.dtype == "uint8" else None,
        encoder=partial(TunedEncoder, source, family, tuning, reading.ordered),
    )


@lru_cache
def source_of(place: str) -> Source:
    """The folder of a network, by its path or its name in the hub's cache. Raises EncoderError."""
    if not place:
        raise EncoderError(
            "its network is not named; write transformers:FOLDER, or transformers:OWNER/NAME of "
            "one in the hub's cache"
        )
    folder = Path(place).expanduser()
    if not folder.is_dir():
        folder = _cached(place)
    try:
        network = json.loads((folder / "config.json").read_text())
        file = next(folder / name for name in PREPROCESSING if (folder / name).is_file())
        inputs = json.loads(file.read_text())
    except (OSError, ValueError, StopIteration) as error:
        what = "its preprocessing is missing" if isinstance(error, StopIteration) else str(error)
        raise EncoderError(
            f"{folder} holds no network of transformers ({what}); name a folder with config.json, "
            f"one of {' and '.join(PREPROCESSING)}, and the weights, as `hf download` makes it"
        ) from None
    if not weight_files(folder):
        raise EncoderError(f"{folder} holds no weights ({', '.join(WEIGHTS)})")
    return Source(folder, _with_defaults(network), inputs)


def _cached(place: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(place, local_files_only=True))
    except HFValidationError:
        raise EncoderError(f"{place} is no folder here, and no OWNER/NAME of the hub") from None
    except OSError:
        raise EncoderError(
            f"{place} is no folder here, and not in the hub's cache; get it by `hf download "
            f"{place}`, where there is a network"
        ) from None


def _with_defaults(network: dict[str, Any]) -> dict[str, Any]:
    """A configuration with the values that its file leaves out, as they are the defaults."""
    if network.get("model_type") not in FAMILIES:
        return network
    from transformers import AutoConfig

    chosen = {name: value for name, value in network.items() if name != "model_type"}
    return AutoConfig.for_model(network["model_type"], **chosen).to_dict()


def family_of(source: Source) -> Family:
    """What sort of network it is. Raises EncoderError for one that is not known."""
    sort = source.network.get("model_type", "")
    if sort not in FAMILIES:
        raise EncoderError(
            f"{source.folder} holds a {sort or 'network of no known sort'}; those that can be read "
            f"are {', '.join(FAMILIES)}"
        )
    return FAMILIES[sort]


def weight_files(folder: Path) -> list[Path]:
    """The files of its weights."""
    return sorted(file for pattern in WEIGHTS for file in folder.glob(pattern))


@lru_cache
def digest(folder: Path) -> str:
    """SHA-256 of its weights and of all its configuration."""
    files = [*weight_files(folder), *sorted(folder.glob("*config.json"))]
    return digest_bytes(*(digest_file(file).encode() for file in files))


@lru_cache
def network(folder: Path, device: str) -> Any:
    """A frozen network on a device, in evaluation mode."""
    return source_of(str(folder)).load().requires_grad_(False).to(device)


@torch.inference_mode()
def encode(folder: Path, array: np.ndarray, device: str) -> np.ndarray:
    """A decoded recording to the features of its pieces: float32 (pieces, features)."""
    source = source_of(str(folder))
    family = family_of(source)
    stored = torch.from_numpy(family.prepare(array, source))[None].to(device)
    inputs = family.inputs(stored, source)
    return family.features(network(folder, device), inputs, source)[0].float().cpu().numpy()


def prepare(folder: Path, array: np.ndarray, device: str) -> np.ndarray:
    """A decoded recording to what is stored of it for a network that is trained."""
    source = source_of(str(folder))
    return family_of(source).prepare(array, source)


ENCODER = HubEncoder()
