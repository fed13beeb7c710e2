"""Networks whose weights were made elsewhere and stay as they are: they read a recording once, and
the store keeps what they say of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from quadlib.config import MediaSettings
from quadlib.data.kinds import Decoded, Job, Kind
from quadlib.registry import KINDS

INSTALL = "pip install 'quadlib[pretrained]'"


class EncoderError(ValueError):
    """An encoder cannot read this, or its weights are not here; the message says what would do."""


@dataclass(frozen=True)
class Reading:
    """How the files of one kind come to a network.

    Args:
        decode: one job, to the array that the network reads; a function of a module.
        fixed: settings that it prescribes, such as height and width of a photo, in place of the
            run's.
        pieces: (settings) to how many pieces (photos, frames, stretches) a recording has.
        ordered: whether the pieces follow each other in time.
    """

    decode: Callable[[Job], Decoded]
    fixed: Mapping[str, Any]
    pieces: Callable[[MediaSettings], int]
    ordered: bool = False


@dataclass(frozen=True, eq=False)
class FrozenEncoder:
    """A frozen network as an encoder, registered under a name by `register_encoder`.

    Args:
        features: numbers that it gives for each piece of a recording.
        readings: name of a kind -> how its files come to it.
        encode: (what `decode` gave, device) to float32 (pieces, features): a function of a module,
            since it runs in the processes that decode. One recording at a time, so that its
            features depend on nothing else.
        weights: the SHA-256 of its weights; raises EncoderError where they are not here.
        preprocessing: whatever else its numbers depend on, as plain values.
    """

    features: int
    readings: Mapping[str, Reading]
    encode: Callable[[np.ndarray, str], np.ndarray]
    weights: Callable[[], str]
    preprocessing: Mapping[str, Any] = field(default_factory=dict)

    def kind(self, name: str, kind: str, tune: str = "") -> Kind:
        """The kind, as this encoder under its name reads it: the store keeps its features, a scale
        for each, and nothing of them is changed at random. Raises EncoderError.
        """
        if tune or ":" in name:
            raise EncoderError(
                f"{name.partition(':')[0]} is one network and stays frozen; write its name alone, "
                "and leave tune out for it"
            )
        if kind not in self.readings:
            raise EncoderError(
                f"{name} reads {' and '.join(self.readings)}, not {kind}; choose another encoder"
            )
        reading = self.readings[kind]
        return replace(
            KINDS[kind],
            axes=("pieces", self.features),
            decode=reading.decode,
            fixed=reading.fixed,
            features=self.encode,
            shape=lambda _, settings: (reading.pieces(settings), self.features),
            constants={"encoder": name, "weights": self.weights(), **self.preprocessing},
            dtype="float32",
            kept_axes=(1,),
            encoder="ordered_features" if reading.ordered else "features",
            clipped=False,
            move=None,
            vary=None,
            look_at=None,
        )


def file_of_package(package: str, path: str, command: str) -> Path:
    """A file that an installed package brings. Raises EncoderError with the command that gets it,
    without importing the package.
    """
    spec = find_spec(package)
    places = spec.submodule_search_locations if spec else None
    file = Path(places[0]) / path if places else None
    if file is None or not file.is_file():
        raise EncoderError(f"its weights are in the package {package}, which is missing: {command}")
    return file
