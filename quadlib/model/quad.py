"""QuadModel: encoders, fusion and heads; from a batch of up to any number of modalities to unit
embeddings.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from quadlib.config import ModelSettings
from quadlib.data.kinds import Factory, kind_of
from quadlib.data.samples import SampleTable, input_shape
from quadlib.model.encoders import build_encoder
from quadlib.model.fusion import Fusion, hide_modalities
from quadlib.registry import MODELS

if TYPE_CHECKING:
    from quadlib.data.dataset import Batch


class Embeddings(NamedTuple):
    """What the model says of a batch; every embedding is a unit row in float32.

    An absent modality has a zero row in `by_modality` and weight 0.
    """

    fused: Tensor  # (B, D)
    by_modality: Tensor  # (B, M, D)
    weights: Tensor  # (B, M), sums to 1


class EmbeddingHead(nn.Sequential):
    """Projection to the unit sphere's space: (B, width) to (B, embedding_dim), not yet
    normalised.
    """

    def __init__(self, width: int, embedding_dim: int) -> None:
        super().__init__(nn.Linear(width, width), nn.GELU(), nn.Linear(width, embedding_dim))


class QuadModel(nn.Module):
    """Named modalities to one fused and one embedding each; an absent modality is masked out
    everywhere.

    `alone` (M,), all False at first, marks the one modality that the fusion trusts, if it is one.

    Module names for freezing: `encoders.<name>`, `fusion`, `fused_head`, `modality_heads.<name>`.

    Args:
        specs: each modality's name -> its kind and input shape (one recording, without the batch),
            in order.
        settings: sizes of encoders, fusion and embedding.
        encoders: a modality's name -> that of its encoder, or its factory, where it is not the one
            of its kind.

    Raises:
        ValueError: no modality, or a name that cannot name a module.

    Example:
        >>> from quadlib import QuadModel
        >>> from quadlib.config import TrainSettings
        >>> specs = {"sensor": ("series", (6, 96)), "pose": ("vector", (7,))}
        >>> model = QuadModel(specs, TrainSettings(width=32, embedding_dim=16))
        >>> list(model.modalities)
        ['sensor', 'pose']
    """

    alone: Tensor

    def __init__(
        self,
        specs: Mapping[str, tuple[str, tuple[int, ...]]],
        settings: ModelSettings,
        encoders: Mapping[str, str | Factory] | None = None,
    ) -> None:
        super().__init__()
        if not specs:
            raise ValueError("a model needs at least one modality; the table has none")
        unfit = [
            repr(name) for name in specs if not name or "." in name or hasattr(nn.ModuleDict, name)
        ]
        if unfit:
            raise ValueError(
                f"{', '.join(unfit)} cannot name a modality, since it names modules too: no dot, "
                "and no attribute of a torch module such as 'type' or 'values'; rename the column"
            )
        width, encoders = settings.width, encoders or {}
        self.modalities = tuple(specs)
        self.modality_dropout = settings.modality_dropout
        self.encoders = nn.ModuleDict(
            {
                name: build_encoder(kind, shape, width, settings.dropout, encoders.get(name, ""))
                for name, (kind, shape) in specs.items()
            }
        )
        self.fusion = Fusion(
            len(specs),
            width,
            heads=settings.fusion_heads,
            layers=settings.fusion_layers,
            dropout=settings.dropout,
        )
        self.fused_head = EmbeddingHead(width, settings.embedding_dim)
        self.modality_heads = nn.ModuleDict(
            {name: EmbeddingHead(width, settings.embedding_dim) for name in specs}
        )
        self.register_buffer("alone", torch.zeros(len(specs), dtype=torch.bool))
        self.frozen: tuple[str, ...] = ()

    @classmethod
    def from_table(cls, table: SampleTable, settings: ModelSettings) -> QuadModel:
        """The model for a table's modalities, frozen where settings.freeze says so.

        Weights come from settings.seed (0 where the settings have none) alone; the global generator
        is left as it was.

        Args:
            table: its modalities give the encoders.
            settings: sizes, `freeze`, and the media settings that give the input shapes.

        Returns:
            A model in training mode, on the CPU.

        Raises:
            ValueError: `freeze` names what the model does not have; the near names are said.

        Example:
            >>> from quadlib import QuadModel, open_source
            >>> from quadlib.config import TrainSettings
            >>> table = open_source("mfeat", views=("mor", "zer"))
            >>> QuadModel.from_table(table, TrainSettings(source="mfeat", width=32)).modalities
            ('mor', 'zer')
        """
        specs = {
            name: (modality.kind, input_shape(modality, settings))
            for name, modality in table.modalities.items()
        }
        encoders = {name: kind_of(modality).encoder for name, modality in table.modalities.items()}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(getattr(settings, "seed", 0))
            model = cls(specs, settings, encoders)
        freeze(model, settings.freeze)
        return model

    def forward(self, batch: Batch) -> Embeddings:
        """Unit embeddings of a batch; raises ValueError naming the rows that have no modality at
        all.
        """
        _check_present(batch.present, self.modalities)
        return self.read(self.encode(batch), batch.present)

    def encode(self, batch: Batch) -> Tensor:
        """A token (B, M, width) of every modality, each from its own encoder alone."""
        whole = batch.present.all(dim=0).tolist()  # spares a copy of what lacks nothing
        return torch.stack(
            [
                self.encoders[name](batch.inputs[name])
                if whole[m]
                else self._encode(name, batch.inputs[name], batch.present[:, m])
                for m, name in enumerate(self.modalities)
            ],
            dim=1,
        )

    def read(self, tokens: Tensor, present: Tensor) -> Embeddings:
        """Unit embeddings from the tokens (B, M, width) of those modalities that are present.

        Where one modality stands `alone`, nothing is fused: its own embedding is the fused one of
        every recording that has it.
        """
        offered = (
            hide_modalities(present, self.modality_dropout)
            if self.training and self.modality_dropout
            else present
        )
        fused, weights = self.fusion(tokens, offered)
        by_modality = torch.stack(
            [
                unit(self.modality_heads[name](tokens[:, m]))
                for m, name in enumerate(self.modalities)
            ],
            dim=1,
        )
        by_modality = by_modality.masked_fill(~present[..., None], 0.0)
        own = (self.alone & offered)[..., None]
        fused = torch.where(
            own.any(dim=1), (by_modality * own).sum(1), unit(self.fused_head(fused))
        )
        return Embeddings(fused, by_modality, weights)

    def _encode(self, name: str, inputs: Tensor, present: Tensor) -> Tensor:
        # Absent rows become zeros whatever they hold, NaN included, so that no gradient can carry
        # them either.
        absent = ~present.view(-1, *[1] * (inputs.dim() - 1))
        return self.encoders[name](inputs.masked_fill(absent, 0.0))

    def train(self, mode: bool = True) -> QuadModel:
        """Training mode for all but the frozen modules, whose dropout stays off."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).eval()
        return self


def unit(vectors: Tensor) -> Tensor:
    """Rows scaled to length 1, in float32 whatever the autocast dtype."""
    return nn.functional.normalize(vectors.float(), dim=-1)


def build_model(table: SampleTable, settings: ModelSettings) -> nn.Module:
    """The model that `settings.model` names, for a table; its weights come from settings.seed
    alone, and the global generator is left as it was. Raises RegistryError for an unknown name.
    """
    make = MODELS[settings.model]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(getattr(settings, "seed", 0))
        return make(table, settings)


def freeze(model: nn.Module, prefixes: Sequence[str]) -> list[str]:
    """Fixes the weights of the named modules or parameters and keeps those modules in eval mode;
    returns the frozen parameters' names.

    A prefix is a dotted name such as `encoders.video` or `fusion.query`, and takes all below it.
    Raises ValueError that lists every unknown prefix with its near matches.
    """
    modules = {name for name, _ in model.named_modules() if name}
    parameters = dict(model.named_parameters())
    known = [*sorted(modules), *parameters]
    problems = []
    for prefix in prefixes:
        if prefix not in modules and prefix not in parameters:
            near = difflib.get_close_matches(prefix, known, n=3)
            hint = (
                f"did you mean {', '.join(near)}?"
                if near
                else f"known are {', '.join(dict(model.named_children()))} and below"
            )
            problems.append(f"  {prefix!r}: {hint}")
    if problems:
        raise ValueError("freeze names what the model does not have:\n" + "\n".join(problems))
    frozen = [
        name
        for name in parameters
        if any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)
    ]
    for name in frozen:
        parameters[name].requires_grad_(False)
    frozen_modules = getattr(model, "frozen", ())
    model.frozen = (  # type: ignore[assignment]  # a model of the user's own may have none yet
        *frozen_modules,
        *(prefix for prefix in prefixes if prefix in modules and prefix not in frozen_modules),
    )
    model.train(model.training)
    return frozen


def _check_present(present: Tensor, modalities: tuple[str, ...]) -> None:
    if present.shape[1] != len(modalities):
        raise ValueError(
            f"batch.present has {present.shape[1]} columns, but the modalities are "
            f"{len(modalities)}: {', '.join(modalities)}"
        )
    empty = (~present.any(dim=1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(
            f"row(s) {', '.join(map(str, empty))} of the batch have no modality present; leave "
            "such recordings out"
        )


def quad(table: SampleTable, settings: ModelSettings) -> QuadModel:
    """The default model: an encoder for each modality, fusion, and heads."""
    return QuadModel.from_table(table, settings)


MODELS.register("quad", quad)
