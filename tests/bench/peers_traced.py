"""A few training steps of one case, run by peers.py under traincheck's collector, which rewrites
this file to track `model`.

The case comes as PEERS_CASE="NAME SEED STEPS", since the collector hands no arguments on.
"""

import os
import warnings

import torch

import quadlib.model.quad
from quadlib.faults import FAULTS, LOOK_ALIKES
from quadlib.faults.small import small_pipeline

name, seed, steps = os.environ["PEERS_CASE"].split()
made = quadlib.model.quad.QuadModel.from_table


def from_table(*arguments):
    # the collector tracks it from here on, before an optimiser takes its parameters
    model = made(*arguments)
    return model  # noqa: RET504


quadlib.model.quad.QuadModel.from_table = from_table
torch.set_num_threads(1)
warnings.simplefilter("ignore")
pipeline = small_pipeline("mfeat", seed=int(seed))
(FAULTS[name].inject if name in FAULTS else LOOK_ALIKES[name].change)(pipeline)
subject = pipeline.subject()
train_loader = iter(subject.loader)
try:
    for number, batch in enumerate(train_loader, start=1):
        print(number, float(subject.train_step(batch)))
        if number == int(steps):
            break
except Exception as error:
    print(f"training ended: {type(error).__name__}: {error}")
