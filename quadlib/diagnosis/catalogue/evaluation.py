"""The codes of the evaluation stage, explained."""

from __future__ import annotations

from quadlib.diagnosis.catalogue.pipeline import OPTIMISER, PIPELINE, SHORT, STEP
from quadlib.diagnosis.entry import Entry

EVALUATE = """
def evaluate():
    model.eval()
    with torch.no_grad():
        z = model(inputs)
    model.train()
    return {"val_accuracy": float((labels[(z @ z.T).argmax(1)] == labels).float().mean())}

diagnosis = diagnose(Subject(loader=loader, model=model, loss=loss, evaluate=evaluate))
""".lstrip()

ENTRIES: dict[str, Entry] = {
    "QL-E01": Entry(
        "queries find themselves",
        "With embeddings that are random, but equal for equal inputs, the score is still perfect; "
        "or the stored evaluation has a sample in both gallery and queries.",
        "The nearest neighbour of a query is itself, so top-1 is 100 % for any model.",
        "Leave the query out of its own neighbours, by row. Seen in pytorch-metric-learning issue "
        "464.",
        PIPELINE + EVALUATE,
    ),
    "QL-E02": Entry(
        "the evaluation runs in training mode, or is not repeatable",
        "Dropout or batch norm is on while evaluating, or two evaluations of one model differ.",
        "A score then depends on the batch and on chance, and evaluating changes the model's "
        "statistics.",
        "model.eval() and torch.no_grad() around the evaluation, no augmentation inside.",
        PIPELINE + EVALUATE.replace("    model.eval()\n", ""),
    ),
    "QL-E03": Entry(
        "training runs in evaluation mode",
        "Training steps run with dropout and batch norm off, or batch norm has counted far fewer "
        "batches than the optimiser steps.",
        "An evaluation called model.eval(), and nothing called model.train() again: statistics "
        "are frozen from the first epoch on.",
        "model.train() at the start of every epoch. Seen in clevr-iep issue 22.",
        PIPELINE
        + OPTIMISER
        + STEP
        + "model.eval()\n"
        + "diagnosis = diagnose(Subject(loader=loader, model=model, loss=loss, "
        "optimizer=optimizer, train_step=train_step))\n",
    ),
    "QL-E05": Entry(
        "high cosines of embeddings without negative values",
        "No value is below 0, so all cosines are high, while the spread after centring is normal.",
        "Features after a ReLU lie in a cone: a mean cosine of 0.8 there is no collapse. Their "
        "floor is higher too.",
        "Judge after centring; end in a linear layer, or use bounds.floor(..., rectified=True).",
        PIPELINE
        + "model = nn.Sequential(nn.Linear(12, 16), nn.ReLU())\nnn.init.constant_(model[0].bias, "
        "3.5)\n" + "diagnosis = diagnose(Subject(loader=loader, model=model, loss=loss))\n",
    ),
    "QL-E10": Entry(
        "validation is at chance",
        "The last validation scores are within two standard errors of guessing.",
        "A symptom: of a model that does not learn, of labels that are not those of their "
        "samples, or of labels that the samples do not determine.",
        "Score the training samples in the same way: high there rules out that nothing is learned.",
        SHORT
        + "labels = [0, 1, 2, 3] * 40\nsplits = ['train'] * 80 + ['val'] * 80\n"
        + "diagnosis = diagnose(Subject(labels=labels, splits=splits, history=[{'epoch': 1, "
        "'val_accuracy': 0.25}]))\n",
    ),
    "QL-E11": Entry(
        "the score is of the training samples",
        "The settings or the stored evaluation name the train split, or validation equals "
        "training to the last digit in every epoch.",
        "It measures memory, not the embedding.",
        "Score val while choosing, and test once at the end.",
        SHORT + "diagnosis = diagnose(Subject(settings={'eval_split': 'train'}))\n",
    ),
}
