"""The contracts of the checkpoint stage: what each asks, why, what its breach predicts, and code
that breaks it.
"""

from __future__ import annotations

from quadlib.diagnosis.catalogue.examples import OPTIMISER, PIPELINE, SHORT, watched_on
from quadlib.diagnosis.contract import Contract

CHECK = "diagnosis = diagnose(Subject(model=model, checkpoint=checkpoint))\n"

C01 = Contract(
    "QL-C01",
    title="the checkpoint does not fit the model",
    what="None, or less than half, of the names and shapes agree; or a name has another shape.",
    why=(
        "With strict=False nothing is loaded and nothing is said: the model is random. Prefixes "
        "are the usual reason (module., encoder_q., _orig_mod.)."
    ),
    fix=(
        "Remove the prefix, and load with strict=True. Seen in mmselfsup issue 330, DenseCL 30 "
        "and dino 117."
    ),
    predicts=("QL-P10", "QL-C03"),
    example=(
        PIPELINE + "checkpoint = {'module.' + name: value + 1 for name, value in "
        "model.state_dict().items()}\n" + CHECK
    ),
)

C02 = Contract(
    "QL-C02",
    title="the checkpoint holds values that are not finite",
    what="A weight or buffer in it is NaN or infinite.",
    why="Training had failed before it was written; every embedding from it is NaN.",
    fix="Go back to an earlier checkpoint, and find the first loss that is not finite.",
    predicts=("QL-E10",),
    example=(
        PIPELINE + "model.body[0].weight.data[0, 0] = float('nan')\ncheckpoint = {'model': "
        "model.state_dict()}\n" + CHECK
    ),
)

C03 = Contract(
    "QL-C03",
    title="a resume restarts the optimiser or the schedule",
    what=(
        "The checkpoint is of a later epoch, but holds no optimiser state, or one with 0 steps, "
        "or no scheduler state where there is a scheduler; or the live optimiser has counted "
        "fewer steps than the history."
    ),
    why=(
        "Adam's moments and bias correction, and the learning rate, jump back to step 0: the loss "
        "jumps with them."
    ),
    fix="Save and load model, optimiser, scheduler and random state together.",
    example=(
        PIPELINE
        + OPTIMISER
        + "checkpoint = {'model': model.state_dict(), 'optimizer': optimizer.state_dict(), "
        "'epoch': 7}\n" + "diagnosis = diagnose(Subject(model=model, optimizer=optimizer, "
        "checkpoint=checkpoint))\n"
    ),
)

C04 = Contract(
    "QL-C04",
    title="the checkpoint belongs to other classes or another normalisation",
    what=(
        "Its class names, in order, are not the table's; or its normalisation statistics are not "
        "those that the data pass through."
    ),
    why=(
        "An index means another class: the score falls, systematically. Inputs of another scale "
        "do the same, less visibly."
    ),
    fix="Take class names and normalisation from the checkpoint.",
    predicts=("QL-E10",),
    example=(
        PIPELINE
        + """
import pandas as pd
from quadlib import SampleTable
from quadlib.data.samples import Modality

frame = pd.DataFrame(
    {
        "sample_id": [f"r{i}" for i in range(64)],
        "label": [f"class {i % 4}" for i in range(64)],
        "group": [f"g{i}" for i in range(64)],
        "split": "train",
        "sensor": range(64),
    }
)
table = SampleTable(frame, {"sensor": Modality("vector", (12,))}, arrays={"sensor": inputs.numpy()})
checkpoint = {
    "model": model.state_dict(),
    "class_names": ["class 1", "class 0", "class 2", "class 3"],
}
diagnosis = diagnose(Subject(table=table, checkpoint=checkpoint))
""".lstrip()
    ),
)

C05 = Contract(
    "QL-C05",
    title="best is not the best by its own figure",
    what=(
        "The figure that picks the best model was followed in the wrong direction, or the epoch "
        "that was kept is not its best."
    ),
    why="best_model holds the worst weights of the run, and everything after it reports them.",
    fix="Highest for accuracy, F1, MAP; lowest for losses and excess.",
    predicts=("QL-E10",),
    example=(
        SHORT + "history = [{'epoch': i, 'val_macro_f1': f1, 'best': i == 0} for i, f1 in "
        "enumerate((0.2, 0.6, 0.9))]\n"
        + "diagnosis = diagnose(Subject(history=history, settings={'monitor': 'val_macro_f1'}))\n"
    ),
)

C06 = Contract(
    "QL-C06",
    title="best is chosen by a raw contrastive loss",
    what="The monitor is a contrastive loss as it is, not above its floor.",
    why=(
        "Its floor and plateau follow the classes in each validation batch: an unshuffled loader "
        "with one-class batches was once read as overfitting for twelve days."
    ),
    fix="Choose by the loss above its floor, or by a retrieval score.",
    example=(
        SHORT
        + "diagnosis = diagnose(Subject(loss=SupConLoss(0.1), settings={'monitor': 'val_loss'}))\n"
    ),
)

C07 = Contract(
    "QL-C07",
    title="the checkpoint cannot be read",
    what="The file is missing, empty, cut off, no checkpoint, or fails its own checksum.",
    why="torch.load does not test the archive's checksums, so a flipped bit can pass as a weight.",
    fix="Take the run's other checkpoint; write to a temporary file and rename it.",
    predicts=("QL-C01", "QL-C03"),
    example=(
        "from pathlib import Path\n"
        + SHORT
        + "Path('latest.pth').write_bytes(b'cut off')\n"
        + "diagnosis = diagnose(Subject(checkpoint='latest.pth'))\n"
    ),
)

C20 = Contract(
    "QL-C20",
    title="a kept state is the living weights",
    what=(
        "A mapping that was put aside earlier, and is loaded again or called the best, holds the "
        "very storage of the weights that are trained."
    ),
    why=(
        "state_dict() gives references: every later step changes what was kept, so the best model "
        "is the last one."
    ),
    fix="copy.deepcopy(model.state_dict()), or save it to a file. Seen in PyPOTS issue 667.",
    predicts=("QL-E10",),
    example=watched_on(
        each_epoch="        best = model.state_dict() if epoch == 0 else best\n",
        after="    model.load_state_dict(best)\n",
    ),
)

C21 = Contract(
    "QL-C21",
    title="the checkpoint lacks what was trained",
    what=(
        "A file written after training holds an optimiser's state, but not all weights that the "
        "optimiser moves."
    ),
    why="A resume goes on with a part that starts anew, under moments that belong to another.",
    fix="Save the state of every module that the optimiser holds, the loss's own weights too.",
    predicts=("QL-C03", "QL-E10"),
    example=watched_on(
        after=(
            "    state = {'body': model.body[0].state_dict(), 'optim': optimizer.state_dict()}\n"
            "    torch.save(state, 'latest.pth')\n"
        )
    ),
)

C22 = Contract(
    "QL-C22",
    title="the saved weights leave out the running statistics",
    what=(
        "A file names every parameter of a model and none of its buffers: the running means and "
        "variances of its batch norms are lost."
    ),
    why=(
        "named_parameters() lists no buffers. A model that is loaded from the file normalises by "
        "the statistics of a new one, a mean of 0 and a variance of 1, and scores worse."
    ),
    fix="torch.save(model.state_dict(), path): a state dict holds parameters and buffers.",
    predicts=("QL-C01", "QL-E10"),
    example=watched_on(
        after=("    torch.save({n: p.detach() for n, p in model.named_parameters()}, 'best.pth')\n")
    ),
)

C23 = Contract(
    "QL-C23",
    title="what is evaluated is not saved",
    what=(
        "An average or a teacher of the trained model is evaluated, and the files that are saved "
        "hold the trained model's weights and none of its own."
    ),
    why="The scores belong to weights that are gone when the script ends.",
    fix="Save the state_dict of the average too. Seen in ai2cm/ace issue 349, DiT issue 35.",
    predicts=("QL-C05",),
    example=watched_on(
        each_epoch=(
            "        for slow, fast in zip(average.parameters(), model.parameters()):\n"
            "            slow.data.lerp_(fast.data, 0.1)\n"
        ),
        after=(
            "    torch.save(model.state_dict(), 'last.pth')\n"
            "    with torch.no_grad():\n        average(inputs)\n"
        ),
    ).replace(
        "import quadlib\n", "import copy\nimport quadlib\naverage = copy.deepcopy(model).eval()\n"
    ),
)
