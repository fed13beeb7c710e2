"""The contracts of the model stage that only a watched loop can break."""

from __future__ import annotations

from quadlib.diagnosis.catalogue.examples import watched
from quadlib.diagnosis.contract import Contract

N22 = Contract(
    "QL-N22",
    title="requires_grad is set on a module, where it does nothing",
    what=(
        "A module has a plain attribute requires_grad, and its parameters the opposite: torch "
        "reads the parameters' own flags alone."
    ),
    why=(
        "A part that was meant to be frozen is trained, or one that was meant to be opened stays "
        "as it is. Seen in MICCAI23-ProtoContra-SFDA issue 18."
    ),
    fix="module.requires_grad_(True or False), which sets the flag of each parameter.",
    predicts=("QL-N01", "QL-N11"),
    example=watched("loss(model(x), y)", before="model.body.requires_grad = False\n"),
)

N23 = Contract(
    "QL-N23",
    title="a layer is given rows that are torn out of several samples",
    what=(
        "A row of a layer's input holds parts of several rows of the batch, while each of these is "
        "spread over several rows: what a reshape leaves where a transpose was meant."
    ),
    why=(
        "The numbers have the right shape and belong to nobody. The layer learns from mixtures, "
        "and what it gives for one sample depends on its neighbours in the batch."
    ),
    fix="Move axes with transpose or permute; reshape only joins or splits neighbouring axes.",
    predicts=("QL-N04", "QL-P06", "QL-P10", "QL-P22", "QL-P25", "QL-P26"),
    example=watched("loss(model(x.reshape(x.shape[::-1]).T), y)"),
)

N24 = Contract(
    "QL-N24",
    title="an average of the weights does not average",
    what=(
        "A copy of the trained network that the loop moves stays between its start and the trained "
        "weights: it neither takes these over in every step, nor, where it is evaluated at the end "
        "of the run, lies still where it began."
    ),
    why=(
        "With m and 1 - m exchanged a momentum encoder is the trained one a step ago, and what it "
        "should steady is gone. With a decay of 0.9999 it needs some 10,000 steps to follow at "
        "all; a score of it before that is one of random weights."
    ),
    fix="average = m * average + (1 - m) * weights, with 1 / (1 - m) a small part of the steps.",
    predicts=("QL-P10", "QL-E10"),
    example=(
        watched(
            "cross_entropy(model(views(x)[0]) @ teacher(x).T / 0.1, torch.arange(len(x)))",
            before="import copy\nteacher = copy.deepcopy(model).requires_grad_(False)\n",
            each_step=(
                "for old, new in zip(teacher.parameters(), model.parameters()):\n"
                "    old.data = 0.01 * old.data + 0.99 * new.data\n"
            ),
        )
    ),
)

N25 = Contract(
    "QL-N25",
    title="a teacher is the student itself",
    what=(
        "What the model calls a teacher, target or momentum encoder is another module than the one "
        "that is trained, not a second name of it."
    ),
    why=(
        "teacher = student copies nothing: both names are one module. Frozen as a teacher it takes "
        "the student with it, and its update does nothing."
    ),
    fix="teacher = copy.deepcopy(student), and freeze the copy.",
    predicts=("QL-N01", "QL-N03", "QL-P10", "QL-O04", "QL-O12", "QL-E10"),
    example=watched(
        "loss(model(x), y) + loss(model.head(model.target_encoder(x)), y)",
        before=(
            "model.target_encoder = model.body\n"
            "model.head = nn.Linear(16, 16)\n"
            "model.target_encoder.requires_grad_(False)\n"
            "optimizer = torch.optim.AdamW(model.head.parameters(), lr=1e-3)\n"
        ),
    ),
)
