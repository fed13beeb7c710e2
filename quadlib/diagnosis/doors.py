"""Ways into the doctor for a training loop that is not ours: around a block, or a whole script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quadlib.diagnosis.engine import diagnose
from quadlib.diagnosis.observe.record import Record
from quadlib.diagnosis.observe.recorder import Recorder
from quadlib.diagnosis.observe.script import observe_script
from quadlib.diagnosis.report import Diagnosis
from quadlib.diagnosis.subject import Subject


class observe:
    """Watches the training loop inside a with-block, unchanged, and judges what it saw.

    The loop's numbers are bit for bit those of an unwatched run. After the last watched step the
    block is left, unless stop is False: then the loop goes on by itself.

    Args:
        steps: Optimiser steps that are watched.
        stop: Whether the block is left after them.
        **declared: What the loop does not show, as `Subject` takes it: labels, splits, table,
            settings, history, checkpoint.

    Raises:
        AlreadyObserving: Another loop is being watched.

    Example:
        >>> import torch, quadlib
        >>> model = torch.nn.Linear(4, 2)
        >>> optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> with quadlib.observe(steps=2) as seen:
        ...     for _ in range(10):
        ...         optimiser.zero_grad()
        ...         model(torch.randn(8, 4)).square().mean().backward()
        ...         optimiser.step()
        >>> seen.record.n_steps
        2
    """

    def __init__(self, steps: int = 8, *, stop: bool = True, **declared: Any) -> None:
        self._recorder = Recorder(steps=steps, stop=stop)
        self._declared = declared
        self._diagnosis: Diagnosis | None = None
        Subject(**declared)  # an unknown name is refused before the loop runs

    @property
    def record(self) -> Record:
        """What was seen, event by event."""
        return self._recorder.record

    @property
    def diagnosis(self) -> Diagnosis:
        """The verdict on what was seen; made when it is first asked for."""
        if self._diagnosis is None:
            self._diagnosis = judge(self.record, **self._declared)
        return self._diagnosis

    def __enter__(self) -> observe:
        self._recorder.__enter__()
        return self

    def __exit__(self, *raised: Any) -> bool:
        return self._recorder.__exit__(*raised)

    def _repr_html_(self) -> str:
        return self.diagnosis._repr_html_()


def diagnose_script(
    script: str, arguments: Sequence[str] = (), *, steps: int = 8, stop: bool = True
) -> Diagnosis:
    """The verdict on a script's training loop, which is left after `steps` optimiser steps unless
    stop is False.

    Raises:
        FileNotFoundError: The script does not exist.
    """
    return judge(observe_script(script, arguments, steps=steps, stop=stop))


def judge(record: Record, **declared: Any) -> Diagnosis:
    """The verdict on a recorded loop; declared: what the loop does not show, as `Subject` takes
    it.
    """
    return diagnose(Subject(record=record, **declared))
