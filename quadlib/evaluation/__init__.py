"""How good, against what, how sure, resting on which modalities."""

from quadlib.evaluation.embed import EmbeddingSet as EmbeddingSet
from quadlib.evaluation.embed import embed as embed
from quadlib.evaluation.score import Score as Score
from quadlib.evaluation.validation import KnnValidator as KnnValidator
