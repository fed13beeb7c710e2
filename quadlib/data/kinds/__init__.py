"""What a modality can be: one file a kind, and this registry of them.

A kind is all that quadlib knows about a sort of data: which files hold it, how one is decoded, the
shape of the result, its scale, its random changes and its encoder. Nothing else asks for a kind's
name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import DamageError as DamageError
from quadlib.data.decoding.damage import open_regular as open_regular
from quadlib.data.decoding.job import Decoded as Decoded
from quadlib.data.decoding.job import Job as Job
from quadlib.data.decoding.look import Look
from quadlib.data.kinds.changes import Change, features_of_copy
from quadlib.registry import ENCODERS, KINDS, RegistryError, register_kind

Factory = Callable[[tuple[int, ...], int, float], Any]  # (shape, width, dropout) to an encoder


@dataclass(frozen=True, eq=False)  # each is one of its own, and can be remembered by
class Kind:
    """One sort of data, from its files to its encoder; registered under a name by `register_kind`.

    A kind of quadlib's own reads its sizes from the fields of the run's settings that start with
    `prefix`. A kind from outside holds its sizes as constants in its own file and lists them in
    `constants`, so that arrays decoded with other numbers are not taken for these.

    Args:
        axes: of one recording's array, in order: a name where the size is free, a number where it
            is fixed. An array of an .npz or .npy file is taken for the kind whose axes fit, of
            several for the one that fixes most.
        encoder: name of the encoder that `register_encoder` knows, or its factory.
        extensions: endings of its files, lower case with their dot.
        decode: one job, to the raw array of its files; raises DamageError. A function of a module
            (no lambda, not of a notebook), since it runs in a process of its own. None: the files
            are .npy arrays, which are read with the table.
        shape: (what the modality says of its shape, settings) to that of one decoded array; None
            where only an array tells.
        prefix: of the settings that its arrays depend on.
        constants: further numbers that its arrays depend on.
        dtype: of its raw arrays, "float32" or "uint8".
        kept_axes: those with a scale of their own; the others are pooled.
        clipped: whether the outer 0.5 % at each end are left out of the scale.
        scaled_by_encoder: whether its arrays are left as they are, since its encoder scales them.
        heavy_tails: whether values far out are softened, where vector_scale says so; arrays of one
            axis alone.
        move: a random change of one raw array, in place, before it is normalised.
        vary: a random change of one normalised array (standard deviations of train), in place.
        several_files: whether a recording may have more than one file.
        gives_arc: whether a decoded recording says when the arc burns ...
        takes_arc: ... and whether this kind is cut to that window.
        channels: one job, to a Decoded whose facts name the `channels` of its file, where no source
            says; as decode, it runs in a process of its own.
        seconds: how long a file lasts, by its header.
        fixed: settings that have this value, whatever the run's say: what an encoder prescribes.
        features: (decoded array, device) to what is kept in its place; None keeps the array. A
            function of a module, since it runs in the processes that decode.
        look: one job, to what a human sees and hears of its files; raises DamageError. None: a
            viewer says that it cannot show this kind.
        look_at: one raw array, to what a human sees of it.

    Example:
        >>> from quadlib.data.kinds import KINDS
        >>> KINDS["video"].axes
        ('T', 2, 'H', 'W')
    """

    axes: tuple[str | int, ...]
    encoder: str | Factory
    extensions: tuple[str, ...] = ()
    decode: Callable[[Job], Decoded] | None = None
    shape: Callable[[tuple[int, ...], MediaSettings], tuple[int, ...]] | None = None
    prefix: str = ""
    constants: Mapping[str, Any] = field(default_factory=dict)
    dtype: str = "float32"
    kept_axes: tuple[int, ...] = (0,)
    clipped: bool = False
    scaled_by_encoder: bool = False
    heavy_tails: bool = False
    move: Change | None = None
    vary: Change | None = None
    several_files: bool = False
    gives_arc: bool = False
    takes_arc: bool = False
    channels: Callable[[Job], Decoded] | None = None
    seconds: Callable[[Path], float] | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    features: Callable[[np.ndarray, str], np.ndarray] | None = None
    look: Callable[[Job], Look] | None = None
    look_at: Callable[[np.ndarray], Look] | None = None

    def __post_init__(self) -> None:
        decode = self.decode
        if decode and (decode.__module__ == "__main__" or not decode.__qualname__.isidentifier()):
            raise RegistryError(
                f"the decode of a kind is {decode.__qualname__} of {decode.__module__}, which the "
                "processes that decode cannot import; define it at the top of a module, in a .py "
                "file beside the notebook or script"
            )

    def numbers(self, settings: MediaSettings) -> dict[str, Any]:
        """All that its arrays depend on beside their files: the settings of its prefix, those that
        are fixed, and its constants.
        """
        chosen = {
            name: getattr(settings, name)
            for name in MediaSettings.model_fields
            if self.prefix and name.startswith(self.prefix)
        }
        return {**chosen, **self.fixed, **self.constants}

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether one recording's array of this shape can be of this kind."""
        return len(shape) == len(self.axes) and all(
            size > 0 and (isinstance(axis, str) or axis == size)
            for size, axis in zip(shape, self.axes, strict=True)
        )


class Modal(Protocol):
    """What a `Modality` says of how it is read."""

    @property
    def kind(self) -> str: ...
    @property
    def encoder(self) -> str: ...
    @property
    def tune(self) -> str: ...
    @property
    def copy(self) -> int: ...


class Reader(Protocol):
    """An encoder that says itself how files come to it."""

    def kind(self, name: str, kind: str, tune: str) -> Kind: ...


def kind_of(modality: Modal) -> Kind:
    """All that is known about a modality's data: its kind, as the encoder that it was given reads
    it. Raises RegistryError for an unknown kind or encoder.
    """
    kind: Kind = KINDS[modality.kind]
    if not modality.encoder:
        return kind
    entry = ENCODERS[modality.encoder.partition(":")[0]]
    read = _as_read(kind, modality.kind, entry, modality.encoder, modality.tune)
    return _of_copy(read, kind, modality.copy) if modality.copy else read


def has_copies(modality: Modal) -> bool:
    """Whether changed copies of its recordings make sense: where a frozen encoder reads what can be
    changed before it is read alone.
    """
    read, kind = kind_of(modality), KINDS[modality.kind]
    return read.features is not None and not read.scaled_by_encoder and kind.move is not None


@lru_cache
def _as_read(kind: Kind, name: str, entry: Any, encoder: str, tune: str) -> Kind:
    if hasattr(entry, "kind"):
        reader: Reader = entry
        return reader.kind(encoder, name, tune)
    return replace(kind, encoder=encoder)


@lru_cache
def _of_copy(read: Kind, kind: Kind, copy: int) -> Kind:
    assert read.features is not None and kind.move is not None
    return replace(
        read,
        features=partial(features_of_copy, read.features, kind.move, copy),
        constants={**read.constants, "copy": copy},
    )


def weights_of(modalities: Mapping[str, Modal]) -> dict[str, str]:
    """SHA-256 of the weights that encoders brought from elsewhere, by modality."""
    made = {name: kind_of(modality).constants for name, modality in modalities.items()}
    return {name: one["weights"] for name, one in made.items() if modalities[name].encoder and one}


def kinds_by_extension() -> dict[str, str]:
    """File ending -> name of its kind. Raises RegistryError where two kinds claim one."""
    names: dict[str, str] = {}
    for name, kind in KINDS.items():
        for extension in kind.extensions:
            if extension in names:
                raise RegistryError(
                    f"kinds {names[extension]!r} and {name!r} both claim {extension} files; give "
                    "one of them an ending of its own"
                )
            names[extension] = name
    return names


def kind_of_file(path: str) -> str:
    """Name of the kind that a file has by its ending, or ""."""
    return kinds_by_extension().get(PurePosixPath(path).suffix.lower(), "")


def kind_of_array(shape: tuple[int, ...]) -> str:
    """Name of the kind that fixes most axes of those that an array (without its rows) fits, or
    "".
    """
    fitting = {name: kind for name, kind in KINDS.items() if kind.fits(shape)}
    return max(
        fitting,
        key=lambda name: sum(isinstance(axis, int) for axis in fitting[name].axes),
        default="",
    )


register_kind("video", "quadlib.data.kinds.video:KIND")
register_kind("image", "quadlib.data.kinds.image:KIND")
register_kind("audio", "quadlib.data.kinds.audio:KIND")
register_kind("series", "quadlib.data.kinds.series:KIND")
register_kind("vector", "quadlib.data.kinds.vector:KIND")
