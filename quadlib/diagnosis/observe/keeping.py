"""What a loop does with its weights beside training them: puts aside, saves, loads, calls best."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import FrameType
from typing import Any

import numpy as np
from torch import Tensor, nn

from quadlib.diagnosis import conventions
from quadlib.diagnosis.observe.at_hand import variables_at_hand
from quadlib.diagnosis.observe.later import Kept, Later, LaterLoad, Save
from quadlib.diagnosis.observe.record import Record
from quadlib.diagnosis.observe.states import (
    addresses_of,
    held_by,
    holds_schedule,
    lacking,
    living,
    optimiser_states_in,
    states_at_hand,
    statistics_left_out,
    weights_in,
)
from quadlib.diagnosis.words import has_part

MOST_LOOKS = 64  # at the loop's variables
MOST_FIGURES = 64  # of a look
FIGURES = (
    *conventions.BEST_NAMES,
    *conventions.HIGHER_IS_BETTER,
    *conventions.LOWER_IS_BETTER,
)


class KeepingWatch:
    """Fills the loads, saves, kept states and figures of a `Later`. trained: name -> parameter of
    what the optimisers move; copies: name -> weights of other living modules.
    """

    def __init__(
        self, record: Record, later: Later, trained: dict[str, Tensor], copies: dict[str, Tensor]
    ) -> None:
        self.record, self.later, self.trained = record, later, trained
        self._living = {**copies, **record.parameters, **trained}
        later.known = frozenset(map(id, self._living.values()))
        self._kept: dict[int, tuple[Mapping[str, Any], Kept]] = {}
        self._saved: set[int] = set()
        self._looks = 0

    def loaded(
        self, module: nn.Module, state: Any, result: Any, strict: bool, own: bool, step: int
    ) -> None:
        missing, unexpected = tuple(result.missing_keys), tuple(result.unexpected_keys)
        matched = len(state) - len(unexpected)
        kept = self._kept[id(state)][1] if id(state) in self._kept else None
        since = None if kept is None or kept.step == step else kept.step
        self.later.loads.append(
            LaterLoad(step, module, matched, missing, unexpected, strict, own, since)
        )

    def saved(self, content: Any, file: Any, step: int) -> None:
        tensors = list(weights_in(content))
        keys = tuple(map(str, content)) if isinstance(content, Mapping) else ()
        stepped = self._stepped(content)
        live = frozenset(id(self._living[held]) for held in held_by(tensors, self._living))
        lacks = lacking(tensors, live, {name: self.trained[name] for name in stepped})
        name = str(file) if isinstance(file, (str, bytes)) or hasattr(file, "__fspath__") else ""
        left_out = statistics_left_out(content, self.record.modules.values())
        resumable, schedule = bool(stepped), holds_schedule(content)
        self.later.saves.append(Save(step, name, keys, live, lacks, resumable, schedule, left_out))
        parts = content.values() if isinstance(content, Mapping) else ()
        self._saved |= {id(content), *map(id, parts)}
        for key in self._saved & set(self._kept):
            del self._kept[key]

    def look(self, frames: Iterable[FrameType], step: int) -> None:
        """Whether the weights are finite, which mappings of the living ones the loop keeps in its
        variables, and the figures there.
        """
        self._looks += 1
        lost = (n for n, p in self.trained.items() if not bool(p.detach().isfinite().all()))
        if self.later.lost is None and (name := next(lost, None)) is not None:
            self.later.lost = step, name
        frames = list(frames)
        if self._looks > MOST_LOOKS or not frames:
            return
        pairs = variables_at_hand(frames)
        self.later.figures.append(figures_at_hand(pairs))
        self._note_states(pairs, step)

    def kept(self) -> list[Kept]:
        return [kept for _, kept in self._kept.values()]

    def _note_states(self, pairs: list[tuple[str, Any]], now: int) -> None:
        addresses = addresses_of(self.trained)
        states: dict[int, tuple[Mapping[str, Any], list[str]]] = {}
        for name, state in states_at_hand(pairs):
            states.setdefault(id(state), (state, []))[1].append(name)
        for key, (state, names) in states.items():
            count = len(living(state, addresses))
            if not count or key in self._saved:
                continue
            step = self._kept[key][1].step if key in self._kept else now
            name = " = ".join(dict.fromkeys(names))
            early = step == self.later.first_step
            self._kept[key] = state, Kept(name, step, now, count, early)

    def _stepped(self, content: Any) -> frozenset[str]:
        """Names of the parameters whose optimiser's state is in a saved object."""
        names = {id(parameter): name for name, parameter in self.trained.items()}
        sizes = [len(state["state"]) for state in optimiser_states_in(content)]
        return frozenset(
            names[id(p)]
            for optimiser in self.record.optimisers
            if len(optimiser.state) in sizes
            for p in optimiser.state
            if id(p) in names
        )


def figures_at_hand(pairs: list[tuple[str, Any]]) -> dict[str, float]:
    """The single numbers among a loop's variables that are named as scores, losses or the best."""
    figures: dict[str, float] = {}
    for name, value in pairs:
        number = type(value) in (int, float) or isinstance(value, np.floating)
        if number and has_part(name, FIGURES) and len(figures) < MOST_FIGURES:
            figures[name] = float(value)
    return figures
