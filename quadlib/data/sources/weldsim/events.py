"""The shared marked point process: what happens during one weld, seen by every modality in its own
way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quadlib.data.sources.weldsim.classes import BACKGROUND_EVENTS, WeldClass


@dataclass(frozen=True)
class Events:
    """Events of one kind: `place` (n,) in [0, 1) along the arc, `mark` (n,) sizes, median 1, `rank`
    (n,) in [0, 1), the plainest first.
    """

    place: np.ndarray
    mark: np.ndarray
    rank: np.ndarray

    def seen(self, visibility: float) -> Events:
        """The events that show at this visibility (0 none, 1 all), and no larger than it."""
        keep = self.rank < visibility
        return Events(self.place[keep], self.mark[keep] * min(1.0, visibility), self.rank[keep])

    def __add__(self, other: Events) -> Events:
        """Both sets of events."""
        return Events(
            *(
                np.concatenate([getattr(self, name), getattr(other, name)])
                for name in ("place", "mark", "rank")
            )
        )


def draw_events(
    weld_class: WeldClass, rng: np.random.Generator
) -> dict[str, tuple[Events, Events]]:
    """Per kind the background events and those of the class: Poisson counts, clustered as defects
    are.

    The background is that of a good weld and every modality shows it; the class's own events are
    shown only as far as the modality sees the defect.
    """
    drawn = {}
    for kind, background in BACKGROUND_EVENTS.items():
        mean = weld_class.events.get(kind, 0.0)
        own = rng.poisson(mean * rng.uniform(0.7, 1.3)) if mean else 0
        # Defects come in clusters around a few spots; three classes of four have them somewhere in
        # the middle.
        spots = rng.uniform(0.06, 0.94, max(1, own // 2))
        place = (rng.choice(spots, own) + rng.normal(0, 0.03, own)) if own else np.zeros(0)
        place = np.clip(place, 0.02, 0.98)
        drawn[kind] = (
            _events(rng.uniform(0.02, 0.98, rng.poisson(background)), rng),
            _events(place, rng),
        )
    return drawn


def _events(place: np.ndarray, rng: np.random.Generator) -> Events:
    return Events(np.sort(place), rng.lognormal(0.0, 0.3, len(place)), rng.random(len(place)))
