"""The contracts of the evaluation stage: what each asks, why, what its breach predicts, and code
that breaks it.
"""

from __future__ import annotations

from quadlib.diagnosis.catalogue.examples import (
    DIAGNOSE,
    OPTIMISER,
    PIPELINE,
    SHORT,
    TRAIN,
    watched_on,
)
from quadlib.diagnosis.contract import Contract

EVALUATE = """
def evaluate():
    model.eval()
    with torch.no_grad():
        z = model(inputs)
    model.train()
    return {"val_accuracy": float((labels[(z @ z.T).argmax(1)] == labels).float().mean())}

diagnosis = diagnose(Subject(loader=loader, model=model, loss=loss, evaluate=evaluate))
""".lstrip()

E01 = Contract(
    "QL-E01",
    title="queries find themselves",
    what=(
        "With embeddings that are random, but equal for equal inputs, the score is still perfect; "
        "or the stored evaluation has a sample in both gallery and queries."
    ),
    why="The nearest neighbour of a query is itself, so top-1 is 100 % for any model.",
    fix=(
        "Leave the query out of its own neighbours, by row. Seen in pytorch-metric-learning issue "
        "464."
    ),
    predicts=("QL-E11", "QL-C05"),
    example=(PIPELINE + EVALUATE),
)

E02 = Contract(
    "QL-E02",
    title="the evaluation runs in training mode, or is not repeatable",
    what="Dropout or batch norm is on while evaluating, or two evaluations of one model differ.",
    why=(
        "A score then depends on the batch and on chance, and evaluating changes the model's "
        "statistics."
    ),
    fix="model.eval() and torch.no_grad() around the evaluation, no augmentation inside.",
    predicts=("QL-E03", "QL-E10", "QL-C05"),
    example=(PIPELINE + EVALUATE.replace("    model.eval()\n", "")),
)

E03 = Contract(
    "QL-E03",
    title="training runs in evaluation mode",
    what=(
        "Training steps run with dropout and batch norm off, or batch norm has counted far fewer "
        "batches than the optimiser steps."
    ),
    why=(
        "An evaluation called model.eval(), and nothing called model.train() again: statistics "
        "are frozen from the first epoch on."
    ),
    fix="model.train() at the start of every epoch. Seen in clevr-iep issue 22.",
    predicts=("QL-E10",),
    example=(PIPELINE + OPTIMISER + "model.eval()\n" + TRAIN),
)

E05 = Contract(
    "QL-E05",
    title="high cosines of embeddings without negative values",
    what="No value is below 0, so all cosines are high, while the spread after centring is normal.",
    why=(
        "Features after a ReLU lie in a cone: a mean cosine of 0.8 there is no collapse. Their "
        "floor is higher too."
    ),
    fix="Judge after centring; end in a linear layer, or use bounds.floor(..., rectified=True).",
    example=(
        PIPELINE
        + "model = nn.Sequential(nn.Linear(12, 16), nn.ReLU())\nnn.init.constant_(model[0].bias, "
        "3.5)\n" + DIAGNOSE
    ),
)

E10 = Contract(
    "QL-E10",
    title="validation is at chance",
    what="The last validation scores are within two standard errors of guessing.",
    why=(
        "A symptom: of a model that does not learn, of labels that are not those of their "
        "samples, or of labels that the samples do not determine."
    ),
    fix="Score the training samples in the same way: high there rules out that nothing is learned.",
    example=(
        SHORT
        + "labels = [0, 1, 2, 3] * 40\nsplits = ['train'] * 80 + ['val'] * 80\n"
        + "diagnosis = diagnose(Subject(labels=labels, splits=splits, history=[{'epoch': 1, "
        "'val_accuracy': 0.25}]))\n"
    ),
)

E11 = Contract(
    "QL-E11",
    title="the score is of the training samples",
    what=(
        "The settings or the stored evaluation name the train split, or validation equals "
        "training to the last digit in every epoch, or a loader called validation or test is over "
        "the dataset that is trained on."
    ),
    why="It measures memory, not the embedding.",
    fix="Score val while choosing, and test once at the end.",
    predicts=("QL-C05",),
    example=(SHORT + "diagnosis = diagnose(Subject(settings={'eval_split': 'train'}))\n"),
)

E20 = Contract(
    "QL-E20",
    title="the score compares rows with the truth of other rows",
    what=(
        "A function of the evaluation is handed the embeddings in the order in which a loader gave "
        "them, and labels in the dataset's own; or it names, for each caption, the item that it "
        "belongs to, where the embeddings show another order."
    ),
    why="The score is at chance whatever the model has learned; the loss looks healthy.",
    fix=(
        "Collect the labels from the same batches as the embeddings, and evaluate with "
        "shuffle=False. Seen in DeCLUTR issue 42 and CLIP issue 115."
    ),
    predicts=("QL-E10", "QL-C05"),
    example=watched_on(
        after=(
            "    def score(z, y):\n        return (y[(z @ z.T).argmax(1)] == y).mean()\n\n"
            "    model.eval()\n"
            "    shuffled = DataLoader(TensorDataset(inputs, labels), 16, shuffle=True)\n"
            "    with torch.no_grad():\n"
            "        z = torch.cat([model(x) for x, _ in shuffled]).numpy()\n"
            "    score(z, labels.numpy())\n"
        )
    ),
)

E21 = Contract(
    "QL-E21",
    title="the evaluated weights are not the trained ones",
    what=(
        "After training, a module of a trained one's shapes is evaluated whose weights are no "
        "more like the trained ones than random ones are, and no trained module is."
    ),
    why="A model was built anew for the evaluation, and its weights were never loaded.",
    fix="Evaluate the module that was trained, or load its state_dict with strict=True.",
    predicts=("QL-E10", "QL-C05"),
    example=watched_on(
        after="    fresh = Model().eval()\n    with torch.no_grad():\n        fresh(inputs)\n"
    ),
)

E22 = Contract(
    "QL-E22",
    title="evaluation and training prepare their inputs differently",
    what=(
        "The samples that a module is given in evaluation have another mean or spread than those "
        "of training, so that hardly one of them is like those."
    ),
    why=(
        "A normalisation is missing or another one on one side. The model meets inputs that it "
        "never learned from; the score is low, and the loss shows nothing."
    ),
    fix="One function prepares the inputs of both; only random changes belong to training alone.",
    predicts=("QL-E10", "QL-C05"),
    example=watched_on(
        after="    model.eval()\n    with torch.no_grad():\n        model(inputs * 255)\n"
    ),
)

E23 = Contract(
    "QL-E23",
    title="the best epoch is chosen by what is tested",
    what=(
        "What is evaluated every few steps is named as the test, no other part is, and a variable "
        "keeps the best figure of it."
    ),
    why=(
        "The best of many looks at the test is better than the model: part of it is luck with "
        "these very samples, the more so the fewer they are."
    ),
    fix="Choose by a validation part of what is trained on, and test once, at the end.",
    example=watched_on(
        after=(
            "    def accuracy(x_test):\n"
            "        model.eval()\n"
            "        with torch.no_grad():\n"
            "            return float((model(x_test).argmax(1) == labels).float().mean())\n\n"
            "    best_acc = 0.0\n"
            "    for epoch in range(4):\n"
            "        optimizer.zero_grad()\n"
            "        model(inputs).square().mean().backward()\n"
            "        optimizer.step()\n"
            "        acc = accuracy(inputs)\n"
            "        best_acc = max(best_acc, acc)\n"
        )
    ),
)

E24 = Contract(
    "QL-E24",
    title="a probe trains what it should measure",
    what=(
        "A function that is named as a linear probe or evaluation steps an optimiser that moves no "
        "weight of the model that was trained before."
    ),
    why=(
        "A linear probe says what frozen features hold. With the encoder in its optimiser it is a "
        "supervised training, and its score says nothing of the features."
    ),
    fix="Freeze the encoder, and give the probe's optimiser the head alone.",
    example=watched_on(
        after=(
            "    def linear_probe():\n"
            "        head = nn.Linear(16, 4)\n"
            "        probe = torch.optim.Adam([*model.parameters(), *head.parameters()])\n"
            "        for x, y in loader:\n"
            "            probe.zero_grad()\n"
            "            nn.functional.cross_entropy(head(model(x)), y).backward()\n"
            "            probe.step()\n\n"
            "    linear_probe()\n"
        )
    ),
)

E25 = Contract(
    "QL-E25",
    title="the evaluated embeddings are one point",
    what="Unit rows that are evaluated have a mean of norm above 0.995.",
    why=(
        "All samples have nearly the same embedding: the loss fell by what needs no classes, or "
        "stands at its margin. A nearest neighbour still finds an order in the last digits, so a "
        "score may look well."
    ),
    fix="Look at what the loss draws together, and whether anything drives strangers apart.",
    predicts=("QL-E10",),
    example=watched_on(
        after=(
            "    model.eval()\n    with torch.no_grad():\n"
            "        embeddings = nn.functional.normalize(model(inputs) * 1e-4 + 1)\n"
        )
    ),
)
