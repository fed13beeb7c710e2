"""How good, against what, how sure, resting on which modalities.

.. include:: README.md
"""

from quadlib.evaluation.embed import EmbeddingSet as EmbeddingSet
from quadlib.evaluation.embed import embed as embed
from quadlib.evaluation.evaluate import evaluate as evaluate
from quadlib.evaluation.evaluate import evaluate_embeddings as evaluate_embeddings
from quadlib.evaluation.intervals import Comparison as Comparison
from quadlib.evaluation.intervals import compare_paired as compare_paired
from quadlib.evaluation.record import Evaluation as Evaluation
from quadlib.evaluation.score import Score as Score
from quadlib.evaluation.validation import KnnValidator as KnnValidator
