"""The contracts of the batch stage that only a watched loop can break."""

from __future__ import annotations

from quadlib.diagnosis.catalogue.examples import watched
from quadlib.diagnosis.contract import Contract

B20 = Contract(
    "QL-B20",
    title="copies of a positive are among the negatives",
    what="Rows that an in-batch softmax sets against each other are equal, value for value.",
    why=(
        "What is pulled to the positive is pushed from its copy: the loss cannot fall below "
        "ln of the copies. Seen in sentence-transformers issue 3189."
    ),
    fix="Draw batches without duplicates, or mask equal columns out of the softmax.",
    predicts=("QL-P10",),
    example=(
        watched(
            "cross_entropy(model(x) @ model.eval()(x).T / 0.1, torch.arange(len(x)))",
            before=(
                "inputs[1::2] = inputs[::2]\n"
                "loader = DataLoader(TensorDataset(inputs, labels), batch_size=16)\n"
            ),
        )
    ),
)

B21 = Contract(
    "QL-B21",
    title="edges of batched graphs all lie in the first one",
    what=(
        "A batch that joins graphs to one numbers their nodes on. Its edges keep the numbers that "
        "they had in each graph."
    ),
    why=(
        "All edges pile up among the first nodes, the other graphs have none. Nothing raises, and "
        "the loss may even fall. Seen in pytorch_geometric issue 1827."
    ),
    fix="Add to each graph's edges the number of nodes before it.",
    predicts=("QL-N04", "QL-P10"),
    example=(
        watched(
            "loss(model(x + 0 * x.index_add(0, edges[0], x[edges[1]]))[::4], y[::4])",
            before=(
                "def collate(items):\n"
                "    x, y = (torch.stack(part) for part in zip(*items))\n"
                "    ring = torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]])\n"
                "    return x, y, ring.repeat(1, 4), torch.arange(16) // 4\n"
                "\n"
                "\n"
                "loader = DataLoader(\n"
                "    TensorDataset(inputs, labels), batch_size=16, collate_fn=collate\n"
                ")\n"
            ),
        ).replace("for x, y in loader", "for x, y, edges, graph in loader")
    ),
)

B22 = Contract(
    "QL-B22",
    title="every worker gives the same rows",
    what=(
        "The worker processes of an IterableDataset each iterate a copy of it. They give the same "
        "batches where its __iter__ does not ask which worker it runs in."
    ),
    why=(
        "An epoch holds every row once a worker: neighbouring steps repeat each other, and what is "
        "counted in epochs is off. Seen in webdataset issue 160."
    ),
    fix=(
        "In __iter__: info = torch.utils.data.get_worker_info(), and every info.num_workers-th "
        "file or row from info.id on."
    ),
    example=(
        watched(
            "loss(model(x), y)",
            before=(
                "class Stream(torch.utils.data.IterableDataset):\n"
                "    def __iter__(self):\n"
                "        return zip(inputs, labels)\n"
                "\n"
                "\n"
                "loader = DataLoader(Stream(), batch_size=16, num_workers=2)\n"
            ),
        )
    ),
)

B23 = Contract(
    "QL-B23",
    title="the weights of the draw make rare classes rarer",
    what="A sampler that draws by weights gives a rare class less than its share of the data.",
    why=(
        "The weights are the classes' counts where their inverse was meant: rare classes all but "
        "vanish from the batches, and have no positives there."
    ),
    fix="WeightedRandomSampler(1 / counts[labels], len(labels)): one weight a sample.",
    predicts=("QL-B02", "QL-B03", "QL-P10"),
    example=watched(
        "loss(model(x), y)",
        before=(
            "labels[:40] = 0\n"
            "weights = labels.bincount()[labels].double()\n"
            "sampler = torch.utils.data.WeightedRandomSampler(weights, 64)\n"
            "loader = DataLoader(TensorDataset(inputs, labels), batch_size=16, sampler=sampler)\n"
        ),
    ),
)
