"""The part of the recorder that writes down what needs no thought: single events, as they come."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import _disable_current_modes

from quadlib.diagnosis.observe.averages import AverageWatch
from quadlib.diagnosis.observe.encodings import EncodingWatch
from quadlib.diagnosis.observe.names import Names
from quadlib.diagnosis.observe.record import (
    Clip,
    Load,
    ReadFile,
    Record,
    Restore,
    SetMode,
    Unscale,
    ZeroGrad,
)
from quadlib.diagnosis.observe.run_log import RunLogWatch


class Journal:
    """Writes events into a record, of one thread of one process."""

    def __init__(self) -> None:
        self.record = Record()
        self.averages = AverageWatch(self.record)
        self._names = Names(self.record)
        own = self.watching, self.looking
        self._log = RunLogWatch(self.record.log, *own)
        self._encodings = EncodingWatch(self.record.log.encodings, *own)
        self._thread, self._process = threading.get_ident(), os.getpid()
        self._busy = False
        self._step = 0

    def watching(self) -> bool:
        """Whether an event belongs to the observed loop: its thread, its process, not our own."""
        return (
            not self._busy
            and threading.get_ident() == self._thread
            and os.getpid() == self._process
        )

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Around the recorder's own work: it is not observed itself, its errors are ours alone."""
        started = time.perf_counter()
        self._busy = True
        try:
            with _disable_current_modes(), torch.no_grad():
                yield
        except Exception as error:  # a bug of the recorder must not end a stranger's training
            self.record.faults.append(f"{type(error).__name__}: {error}")
        finally:
            self._busy = False
            self.record.seconds_watching += time.perf_counter() - started

    @contextmanager
    def passing_on(self) -> Iterator[None]:
        """Around what torch itself does inside one event: it is no event of the loop's own."""
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    def cleared(self) -> None:
        self.record.events.append(ZeroGrad(self._step))

    def clipped(self, norm: Any, limit: Any) -> None:
        with self.looking():
            self.record.events.append(Clip(self._step, float(norm), float(limit)))

    def functional_gradient(self, inputs: Any) -> None:
        """torch.autograd.grad with respect to parameters: a step made by hand may follow."""
        wanted = inputs if isinstance(inputs, (tuple, list)) else [inputs]
        if any(isinstance(item, nn.Parameter) for item in wanted):
            self.record.functional_gradients += 1

    def unscaled(self) -> None:
        self.record.events.append(Unscale(self._step))

    def read_file(self, file: Any, content: Any) -> None:
        keys = tuple(map(str, content)) if isinstance(content, Mapping) else ()
        self.record.events.append(ReadFile(self._step, str(file), keys))

    def restored(self, part: Any) -> None:
        self.record.events.append(Restore(self._step, type(part).__name__))

    def set_mode(self, module: nn.Module, training: bool) -> None:
        if module.training != training:
            with self.looking():
                self.record.events.append(
                    SetMode(self._step, self._names.of_module(module), training)
                )

    def loaded(self, module: nn.Module, keys: Any, result: Any, strict: bool) -> None:
        with self.looking():
            missing, unexpected = tuple(result.missing_keys), tuple(result.unexpected_keys)
            matched = len(keys) - len(unexpected)
            name = self._names.of_module(module)
            self.record.events.append(Load(self._step, name, matched, missing, unexpected, strict))
