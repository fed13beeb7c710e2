"""The contracts of the optimiser stage: what each asks, why, what its breach predicts, and code
that breaks it.
"""

from __future__ import annotations

from quadlib.diagnosis.catalogue.examples import (
    OPTIMISER,
    PIPELINE,
    SHORT,
    STEP,
    SUBJECT,
    TRAIN,
    watched,
)
from quadlib.diagnosis.contract import Contract

O01 = Contract(
    "QL-O01",
    title="the learning rate is too high",
    what=(
        "Within the first trial steps the embeddings, spread at step 0, become one point, or the "
        "weights change by their own size in one step."
    ),
    why=(
        "All embeddings are equal from then on: the loss is ln(N-1), the gradient 0, and nothing "
        "leads back. Seen in SupContrast issues 3, 42 and 83."
    ),
    fix="Lower the rate to a quarter, and again while it collapses, or warm up.",
    predicts=("QL-N10", "QL-P10", "QL-P12", "QL-P17", "QL-O06", "QL-E05", "QL-E10", "QL-C02"),
    example=(PIPELINE + "optimizer = torch.optim.AdamW(model.parameters(), lr=3.0)\n" + TRAIN),
)

O02 = Contract(
    "QL-O02",
    title="the learning rate is 0, or too small to move a weight",
    what=(
        "The rate is 0 and no schedule raises it, or the largest update at the highest rate of "
        "the schedule is below the resolution of float32."
    ),
    why="The loss is flat, though not at the plateau: gradients arrive and nothing follows.",
    fix="Set the rate; 1e-3 is usual for AdamW.",
    predicts=("QL-P10", "QL-O04", "QL-O05", "QL-O15", "QL-E10"),
    example=(PIPELINE + "optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)\n" + TRAIN),
)

O04 = Contract(
    "QL-O04",
    title="the optimiser never moves the model",
    what=(
        "The optimiser holds other tensors than the model's, as after copying, moving or "
        "re-creating it; or its step is never taken."
    ),
    why=(
        "Gradients arrive, the optimiser may even count steps, and the model stays as it was "
        "initialised."
    ),
    fix=(
        "Make the optimiser last, from the final model; call step() between backward() and "
        "zero_grad()."
    ),
    predicts=(
        "QL-P10",
        "QL-O01",
        "QL-O07",
        "QL-O11",
        "QL-O13",
        "QL-O20",
        "QL-O21",
        "QL-E03",
        "QL-E10",
        "QL-C03",
    ),
    example=(PIPELINE + "optimizer = torch.optim.AdamW(Model().parameters(), lr=1e-3)\n" + TRAIN),
)

O05 = Contract(
    "QL-O05",
    title="the schedule ends long before training",
    what=(
        "A schedule of as many steps as there are epochs is called once a batch, or the rate is "
        "used up before half of training."
    ),
    why="Learning stops after epochs / batches of the way, and looks like convergence.",
    fix="Call the scheduler once an epoch, or give it epochs x batches steps.",
    predicts=("QL-E10",),
    example=(
        PIPELINE
        + OPTIMISER
        + STEP
        + """
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)


def step_of_batch(batch):
    value = train_step(batch)
    scheduler.step()
    return value


diagnosis = diagnose(
    Subject(
        loader=loader,
        model=model,
        loss=loss,
        optimizer=optimizer,
        scheduler=scheduler,
        train_step=step_of_batch,
        settings={"epochs": 20},
    )
)
""".lstrip()
    ),
)

O06 = Contract(
    "QL-O06",
    title="weight decay outweighs the gradient",
    what=(
        "The pull of the decay is larger than the push of the gradient, and the weights shrink by "
        "about lr x weight_decay a step."
    ),
    why=(
        "Weights shrink geometrically towards 0; the embeddings lose their spread over an epoch, "
        "and the loss ends at the plateau."
    ),
    fix="Take 0.01 to 0.1 for AdamW, 1e-4 for SGD.",
    predicts=("QL-P10", "QL-E05", "QL-E10"),
    example=(
        PIPELINE
        + "optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=3.0)\n"
        + TRAIN
    ),
)

O07 = Contract(
    "QL-O07",
    title="mixed precision skips every step",
    what=(
        "All trial steps were skipped because their gradients are not finite, or the loss scale "
        "has fallen far below 1."
    ),
    why=(
        "A gradient scaler skips a step and halves its scale when a gradient is not finite. A few "
        "skips at the start are healthy; a scale that keeps falling means that the gradient is "
        "never finite."
    ),
    fix="Find what is not finite; compute the loss in float32, or train in bfloat16.",
    predicts=("QL-P10", "QL-P12", "QL-O02", "QL-E10", "QL-C02", "QL-C03"),
    example=(
        PIPELINE
        + "checkpoint = {'model': model.state_dict(), 'scaler': {'scale': 1e-9}}\n"
        + OPTIMISER
        + STEP
        + f"diagnosis = diagnose({SUBJECT}, optimizer=optimizer, checkpoint=checkpoint))\n"
    ),
)

O09 = Contract(
    "QL-O09",
    title="accumulated micro-batches are mistaken for the batch",
    what=(
        "The loss sees fewer samples than batch_size declares, by the number of accumulation "
        "steps; or its plateau is that of a micro-batch."
    ),
    why=(
        "Accumulation adds gradients, not negatives: each micro-batch is a contrastive problem of "
        "its own, with fewer negatives."
    ),
    fix=(
        "Embed all micro-batches first, then take one loss (gradient caching); or declare the "
        "micro-batch as the batch."
    ),
    example=(
        SHORT + 'diagnosis = diagnose(Subject(history=[1.0986] * 6, settings={"batch_size": 32, '
        '"micro_batch": 4}))\n'
    ),
)

O10 = Contract(
    "QL-O10",
    title="the loss sees the share of one process",
    what="The plateau is ln(B / processes - 1): negatives were not gathered across processes.",
    why="Every process compares only within its share. Seen in SupContrast issue 26.",
    fix="Gather embeddings, with their gradient, and labels before the loss.",
    example=(
        SHORT + 'diagnosis = diagnose(Subject(history=[1.9459] * 6, settings={"batch_size": 32, '
        '"world_size": 4}))\n'
    ),
)

O11 = Contract(
    "QL-O11",
    title="gradients are clipped to nothing",
    what=(
        "The declared clipping norm is a thousandth of the gradient or less, and the weights do "
        "not move."
    ),
    why="Every step is of the length lr x clip, below what float32 resolves.",
    fix="A clipping norm of 1 to 10 is usual.",
    predicts=("QL-P10", "QL-O02", "QL-E10"),
    example=(
        PIPELINE
        + """
optimizer = torch.optim.SGD(model.parameters(), lr=0.03)


def train_step(batch):
    optimizer.zero_grad()
    value = loss(model(batch[0]), batch[1])
    value.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1e-9)
    optimizer.step()
    return value.detach()


diagnosis = diagnose(
    Subject(
        loader=loader,
        model=model,
        loss=loss,
        optimizer=optimizer,
        train_step=train_step,
        settings={"clip_norm": 1e-9},
    )
)
""".lstrip()
    ),
)

O12 = Contract(
    "QL-O12",
    title="a parameter is in the optimiser twice",
    what="One tensor is listed in several groups, or twice in one.",
    why="It takes two steps where others take one, with two rates and two decays.",
    fix="Give each tensor to one group.",
    example=(
        PIPELINE
        + OPTIMISER
        + "optimizer.param_groups.append({**optimizer.param_groups[0], 'params': "
        "list(model.body[0].parameters())})\n" + TRAIN
    ),
)

O13 = Contract(
    "QL-O13",
    title="the scheduler drives another optimiser",
    what="The scheduler's optimiser and the one that steps share no parameter group.",
    why="The rate that is printed changes, the rate that is used does not.",
    fix="Make the scheduler from the optimiser that steps, after it.",
    predicts=("QL-O05",),
    example=(
        PIPELINE
        + OPTIMISER
        + "scheduler = torch.optim.lr_scheduler.StepLR(torch.optim.AdamW(model.parameters(), "
        "lr=1e-3), 10)\n" + "diagnosis = diagnose(Subject(loader=loader, model=model, loss=loss, "
        "optimizer=optimizer, scheduler=scheduler))\n"
    ),
)

O14 = Contract(
    "QL-O14",
    title="the optimiser maximises the loss",
    what="maximize=True is set.",
    why="Every step makes the loss larger.",
    fix="Leave maximize out.",
    predicts=("QL-P10", "QL-O01"),
    example=(
        watched(
            "loss(model(x), y)",
            before="optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, maximize=True)\n",
        )
    ),
)

O15 = Contract(
    "QL-O15",
    title="the warm-up outlasts the run",
    what=(
        "A scheduler that was seen, tried out on a copy, does not reach half of the base "
        "rate in the steps of the run, or in 100 epochs where its length is not known."
    ),
    why="The rate stays near 0 and the loss hardly moves.",
    fix="Warm up for 1 to 10 % of the run's steps.",
    predicts=("QL-P10",),
    example=(
        watched(
            "loss(model(x), y)",
            before=(
                "schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: min(1, k / "
                "1e5))\n"
            ),
        ).replace("optimizer.step()\n", "optimizer.step()\n            schedule.step()\n")
    ),
)

O20 = Contract(
    "QL-O20",
    title="gradients pile up across steps",
    what="The gradient that a step has used is still there at the next backward pass.",
    why="Every step follows the sum of all gradients so far; the loss swings and diverges.",
    fix="Call optimizer.zero_grad() once a step, before backward() or right after step().",
    predicts=("QL-P10", "QL-P12", "QL-O01"),
    example=(watched("loss(model(x), y)", clear="no")),
)

O21 = Contract(
    "QL-O21",
    title="gradients are thrown away",
    what="Gradients are cleared before a step has used them.",
    why=(
        "Of several accumulated micro-batches the last alone counts, or none does. Seen in "
        "RAE issue 67."
    ),
    fix="To accumulate, call zero_grad() after step() only.",
    predicts=("QL-P10", "QL-O09"),
    example=(
        watched("loss(model(x), y)").replace(
            "            optimizer.step()",
            "            count = globals().get('count', 0) + 1\n            if count % 2 == "
            "0:\n                optimizer.step()",
        )
    ),
)

O22 = Contract(
    "QL-O22",
    title="scaled gradients are used as they are",
    what=(
        "A loss was multiplied by a gradient scaler, and its gradients are clipped or "
        "stepped on without having been divided by it."
    ),
    why="Clipping cuts everything to nothing, or the step is 65536 times too large.",
    fix=(
        "scaler.unscale_(optimizer) before clipping; scaler.step(optimizer) instead of "
        "optimizer.step()."
    ),
    predicts=("QL-P12", "QL-O01", "QL-O02", "QL-O11"),
    example=(
        watched("scaler.scale(loss(model(x), y))", before="scaler = torch.amp.GradScaler('cpu')\n")
    ),
)
