"""The codes of the optimiser stage, explained."""

from __future__ import annotations

from quadlib.diagnosis.catalogue.pipeline import OPTIMISER, PIPELINE, SHORT, STEP, TRAIN, watched
from quadlib.diagnosis.entry import Entry

ENTRIES: dict[str, Entry] = {
    "QL-O01": Entry(
        "the learning rate is too high",
        "Within the first trial steps the embeddings, spread at step 0, become one point, or the "
        "weights change by their own size in one step.",
        "All embeddings are equal from then on: the loss is ln(N-1), the gradient 0, and nothing "
        "leads back. Seen in SupContrast issues 3, 42 and 83.",
        "Lower the rate by 10 to 100, or warm up.",
        PIPELINE + "optimizer = torch.optim.AdamW(model.parameters(), lr=3.0)\n" + TRAIN,
    ),
    "QL-O02": Entry(
        "the learning rate is 0, or too small to move a weight",
        "The rate is 0 and no schedule raises it, or the largest update at the highest rate of "
        "the schedule is below the resolution of float32.",
        "The loss is flat, though not at the plateau: gradients arrive and nothing follows.",
        "Set the rate; 1e-3 is usual for AdamW.",
        PIPELINE + "optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)\n" + TRAIN,
    ),
    "QL-O04": Entry(
        "the optimiser never moves the model",
        "The optimiser holds other tensors than the model's, as after copying, moving or "
        "re-creating it; or its step is never taken.",
        "Gradients arrive, the optimiser may even count steps, and the model stays as it was "
        "initialised.",
        "Make the optimiser last, from the final model; call step() between backward() and "
        "zero_grad().",
        PIPELINE + "optimizer = torch.optim.AdamW(Model().parameters(), lr=1e-3)\n" + TRAIN,
    ),
    "QL-O05": Entry(
        "the schedule ends long before training",
        "A schedule of as many steps as there are epochs is called once a batch, or the rate is "
        "used up before half of training.",
        "Learning stops after epochs / batches of the way, and looks like convergence.",
        "Call the scheduler once an epoch, or give it epochs x batches steps.",
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
""".lstrip(),
    ),
    "QL-O06": Entry(
        "weight decay outweighs the gradient",
        "The pull of the decay is larger than the push of the gradient, and the weights shrink by "
        "about lr x weight_decay a step.",
        "Weights shrink geometrically towards 0; the embeddings lose their spread over an epoch, "
        "and the loss ends at the plateau.",
        "Take 0.01 to 0.1 for AdamW, 1e-4 for SGD.",
        PIPELINE
        + "optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=3.0)\n"
        + TRAIN,
    ),
    "QL-O07": Entry(
        "mixed precision skips every step",
        "All trial steps were skipped because their gradients are not finite, or the loss scale "
        "has fallen far below 1.",
        "A gradient scaler skips a step and halves its scale when a gradient is not finite. A few "
        "skips at the start are healthy; a scale that keeps falling means that the gradient is "
        "never finite.",
        "Find what is not finite; compute the loss in float32, or train in bfloat16.",
        PIPELINE
        + "checkpoint = {'model': model.state_dict(), 'scaler': {'scale': 1e-9}}\n"
        + OPTIMISER
        + "diagnosis = diagnose(Subject(loader=loader, model=model, loss=loss, "
        "optimizer=optimizer, checkpoint=checkpoint))\n",
    ),
    "QL-O09": Entry(
        "accumulated micro-batches are mistaken for the batch",
        "The loss sees fewer samples than batch_size declares, by the number of accumulation "
        "steps; or its plateau is that of a micro-batch.",
        "Accumulation adds gradients, not negatives: each micro-batch is a contrastive problem of "
        "its own, with fewer negatives.",
        "Embed all micro-batches first, then take one loss (gradient caching); or declare the "
        "micro-batch as the batch.",
        SHORT + 'diagnosis = diagnose(Subject(history=[1.0986] * 6, settings={"batch_size": 32, '
        '"micro_batch": 4}))\n',
    ),
    "QL-O10": Entry(
        "the loss sees the share of one process",
        "The plateau is ln(B / processes - 1): negatives were not gathered across processes.",
        "Every process compares only within its share. Seen in SupContrast issue 26.",
        "Gather embeddings, with their gradient, and labels before the loss.",
        SHORT + 'diagnosis = diagnose(Subject(history=[1.9459] * 6, settings={"batch_size": 32, '
        '"world_size": 4}))\n',
    ),
    "QL-O11": Entry(
        "gradients are clipped to nothing",
        "The declared clipping norm is a thousandth of the gradient or less, and the weights do "
        "not move.",
        "Every step is of the length lr x clip, below what float32 resolves.",
        "A clipping norm of 1 to 10 is usual.",
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
""".lstrip(),
    ),
    "QL-O12": Entry(
        "a parameter is in the optimiser twice",
        "One tensor is listed in several groups, or twice in one.",
        "It takes two steps where others take one, with two rates and two decays.",
        "Give each tensor to one group.",
        PIPELINE
        + OPTIMISER
        + "optimizer.param_groups.append({**optimizer.param_groups[0], 'params': "
        "list(model.body[0].parameters())})\n" + TRAIN,
    ),
    "QL-O13": Entry(
        "the scheduler drives another optimiser",
        "The scheduler's optimiser and the one that steps share no parameter group.",
        "The rate that is printed changes, the rate that is used does not.",
        "Make the scheduler from the optimiser that steps, after it.",
        PIPELINE
        + OPTIMISER
        + "scheduler = torch.optim.lr_scheduler.StepLR(torch.optim.AdamW(model.parameters(), "
        "lr=1e-3), 10)\n" + "diagnosis = diagnose(Subject(loader=loader, model=model, loss=loss, "
        "optimizer=optimizer, scheduler=scheduler))\n",
    ),
    "QL-O14": Entry(
        "the optimiser maximises the loss",
        "maximize=True is set.",
        "Every step makes the loss larger.",
        "Leave maximize out.",
        watched(
            "loss(model(x), y)",
            before="optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, maximize=True)\n",
        ),
    ),
    "QL-O15": Entry(
        "the warm-up outlasts the run",
        "A scheduler that was seen, tried out on a copy, does not reach half of the base "
        "rate in the steps of the run, or in 100 epochs where its length is not known.",
        "The rate stays near 0 and the loss hardly moves.",
        "Warm up for 1 to 10 % of the run's steps.",
        watched(
            "loss(model(x), y)",
            before=(
                "schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: min(1, k / "
                "1e5))\n"
            ),
        ).replace("optimizer.step()\n", "optimizer.step()\n            schedule.step()\n"),
    ),
    "QL-O20": Entry(
        "gradients pile up across steps",
        "The gradient that a step has used is still there at the next backward pass.",
        "Every step follows the sum of all gradients so far; the loss swings and diverges.",
        "Call optimizer.zero_grad() once a step, before backward() or right after step().",
        watched("loss(model(x), y)", clear="no"),
    ),
    "QL-O21": Entry(
        "gradients are thrown away",
        "Gradients are cleared before a step has used them.",
        "Of several accumulated micro-batches the last alone counts, or none does. Seen in "
        "RAE issue 67.",
        "To accumulate, call zero_grad() after step() only.",
        watched("loss(model(x), y)").replace(
            "            optimizer.step()",
            "            count = globals().get('count', 0) + 1\n            if count % 2 == "
            "0:\n                optimizer.step()",
        ),
    ),
    "QL-O22": Entry(
        "scaled gradients are used as they are",
        "A loss was multiplied by a gradient scaler, and its gradients are clipped or "
        "stepped on without having been divided by it.",
        "Clipping cuts everything to nothing, or the step is 65536 times too large.",
        "scaler.unscale_(optimizer) before clipping; scaler.step(optimizer) instead of "
        "optimizer.step().",
        watched("scaler.scale(loss(model(x), y))", before="scaler = torch.amp.GradScaler('cpu')\n"),
    ),
}
