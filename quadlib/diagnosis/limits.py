"""Every threshold that a check decides by, with what it bounds and where the number comes from.

`diagnose(subject, limits=Limits(cone=0.7))` overrides one. The origin of a number is one of: theory
(it follows from the formula), arithmetic (what a number format resolves), literature, budget (a
bound on the cost of a look, not on a verdict), or chosen (set by hand; the healthy look-alikes of
`quadlib.faults` stay silent with it, and nothing finer was measured).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


def limit(value: T, what: str, origin: str) -> T:
    """A field of Limits: its default, what it bounds, where the number comes from."""
    made: T = field(default=value, metadata={"what": what, "origin": origin})
    return made


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The thresholds of all checks; the metadata of each field says what it bounds and its
    origin.
    """

    # what a look may cost
    most_batches_drawn: int = limit(5_000, "batches drawn of one epoch", "budget")
    most_seconds_drawing: float = limit(5.0, "seconds spent on drawing batches", "budget")
    batches_read: int = limit(2, "batches read from the loader", "budget")
    trial_steps: int = limit(20, "training steps tried and undone", "budget")
    trial_seconds: float = limit(8.0, "seconds after which no further trial step begins", "budget")
    feature_rows: int = limit(400, "training samples summarised from arrays", "budget")
    loaded_rows: int = limit(1_000, "samples summarised from batches, which repeat some", "budget")
    loaded_batches: int = limit(32, "batches summarised", "budget")
    loading_seconds: float = limit(1.5, "seconds of summarising batches", "budget")
    pooled_cells: int = limit(8, "longest side of the grid that an array is averaged to", "budget")
    served_rows: int = limit(4_000, "samples read from a dataset", "budget")
    served_bytes: int = limit(64 * 2**20, "bytes read from a dataset", "budget")
    served_seconds: float = limit(1.5, "seconds of reading from a dataset", "budget")
    file_seconds: float = limit(0.5, "seconds of comparing files, unless deep", "budget")
    file_edge_bytes: int = limit(4_096, "bytes compared at each end of a file", "budget")
    stored_rows: int = limit(64, "rows read of an array of large samples", "budget")
    small_sample: int = limit(4_096, "values up to which every row is read", "budget")
    sample_rate_headers: int = limit(200, "audio headers read", "budget")
    compared_files: int = limit(24, "pairs of files compared between two modalities", "budget")
    compared_file_bytes: int = limit(65_536, "bytes compared of each of them", "budget")
    schedule_calls: int = limit(5_000, "calls of a scheduler that are tried", "budget")
    evaluation_seconds: float = limit(5.0, "duration up to which evaluate is repeated", "budget")

    # data
    dead_modality: float = limit(
        0.9, "share of constant samples above which the whole modality is dead (QL-M04)", "chosen"
    )
    blank_values: float = limit(
        0.2,
        "share of a sample's values that equal the constant, above which a blank sample is natural",
        "chosen: line drawings are blank to more than that",
    )
    shared_contents: float = limit(
        0.05, "share of samples with another's content, above which pairs are an error", "chosen"
    )
    pooled_rows: float = limit(
        0.1,
        "share of samples that share every one of their parts with others, from a pool",
        "chosen",
    )
    pooled_contents: int = limit(
        5, "contents that several samples hold, from which they are no one placeholder", "chosen"
    )
    telling_values: int = limit(8, "values below which vectors coincide by chance", "chosen")
    telling_levels: int = limit(
        64, "distinct values below which an array holds codes, whose rows coincide", "chosen"
    )
    few_duplicates: float = limit(
        0.01, "share of copies in train up to which they are a note", "chosen"
    )
    stray_copies: int = limit(
        3, "copies in a small train split that are a note", "chosen: what measured sets hold"
    )
    unit_ratio: float = limit(
        0.08, "logarithmic distance of a ratio of scales to a known constant", "chosen"
    )
    unit_gap: float = limit(
        0.4, "empty interval between two scales, as a share of their logarithmic ratio", "chosen"
    )
    unit_samples: int = limit(16, "samples from which scales are compared", "chosen")
    unit_channels: int = limit(32, "channels up to which an axis holds channels", "chosen")

    # labels
    unique_labels: float = limit(
        0.9, "share of classes of one sample, from which labels are ids", "chosen"
    )
    judged_labels: int = limit(8, "labels from which uniqueness is judged", "chosen")
    label_link: float = limit(
        0.01, "p above which a modality does not depend on the label", "chosen: 1 % of a test"
    )
    neighbours: int = limit(10, "nearest neighbours asked for a sample's class", "chosen")
    neighbours_agree: float = limit(0.6, "share of them that must name one class", "chosen")
    own_class_votes: float = limit(0.2, "share of them that may name the sample's own", "chosen")
    judged_samples: int = limit(30, "samples whose neighbours agree, from which to judge", "chosen")
    noise_samples: int = limit(64, "samples from which label noise is judged", "chosen")
    usual_noise: float = limit(
        0.05,
        "share of wrong labels that passes for usual; twice that is reported",
        "literature: Northcutt et al. 2021 find 3.3 % in ten test sets on average",
    )
    noise_p: float = limit(1e-3, "p of that many contradictions at the usual noise", "chosen")
    spelled_classes: float = limit(
        0.5, "share of names that agree with their label, from which names spell classes", "chosen"
    )
    name_parts: int = limit(8, "parts of a name that are compared with the labels", "chosen")

    # split
    few_copies: float = limit(
        0.02,
        "share of a split copied from another, up to which it is a note",
        "chosen: measured sets hold a few; they change no score worth reporting",
    )

    # loss
    drawn_rows: float = limit(
        0.2,
        "share of rows that a step draws to their positives, up to which the loss repels them",
        "theory: of a contrastive loss it is near 1; healthy strangers' loops gave 0.3 to 1",
    )
    pushed_away: float = limit(
        -0.05,
        "mean cosine of a step with the way to the positives, down from which it repels",
        "theory: of a contrastive loss it is above 0; healthy strangers' loops gave -0.16 to 0.99",
    )

    # batch
    length_off: float = limit(
        0.3,
        "relative error of a sampler's length, up to which it passes for an estimate",
        "chosen: samplers of P x K publish lengths that are 22 % off",
    )
    impossible: float = limit(1e-6, "probability below which chance is ruled out", "chosen")
    sorted_z: float = limit(
        -6.0,
        "standard score of the class changes along the rows, below which they are sorted",
        "theory: six standard deviations of a binomial count",
    )
    lone_warning: float = limit(0.4, "share of lone anchors that is a warning", "chosen")
    lone_note: float = limit(0.15, "share of lone anchors that is a note", "chosen")
    coverage_sigmas: float = limit(
        6.0, "standard deviations above the expected number of rows never drawn", "theory"
    )
    stale_labels: float = limit(
        0.3, "share of wrong labels above which the order of the rows is doubted instead", "chosen"
    )

    # modality
    judged_rows: int = limit(4, "samples from which a constant stream is judged", "chosen")
    judged_values: int = limit(
        5, "values of a sample below which a batch may agree by chance, as flags do", "chosen"
    )
    constant_stream: float = limit(
        2e-7, "relative range of equal rows", "arithmetic: two units in the last place of float32"
    )
    inverted_mask: float = limit(0.9, "share of wrong entries of an inverted mask", "chosen")
    absent_reads: float = limit(
        1e-5, "relative change of an embedding by an absent modality", "arithmetic: float32 sums"
    )
    copied_modality: float = limit(0.9, "share of equal samples of two modalities", "chosen")
    files_of_kind: float = limit(0.5, "share of a modality's files of another kind", "chosen")
    unique_names: float = limit(0.9, "share of distinct names that tell samples apart", "chosen")
    linked: float = limit(
        0.005, "p of two linked modalities", "theory: the smallest p of 199 permutations"
    )
    unlinked: float = limit(0.05, "p above which two modalities are not linked", "chosen")
    alignment_rows: int = limit(400, "samples of the second, larger permutation test", "budget")
    signature_rows: int = limit(150, "samples of a permutation test", "budget")
    permuted_rows: int = limit(32, "samples below which no permutation test is made", "chosen")
    permutations: int = limit(199, "permutations of rows", "theory: p as small as 1 / 200")
    label_permutations: int = limit(999, "permutations of labels", "theory: p down to 1 / 1000")
    signature_features: int = limit(512, "values of a sample in a permutation test", "budget")
    compared_rows: int = limit(16, "samples in batches that are compared as stored", "chosen")
    own_row: float = limit(0.5, "share nearest to its own row, where all is well", "chosen")
    other_row: float = limit(0.1, "share nearest to its own row, where it is not", "chosen")
    moved_row: float = limit(
        1e-3, "change of a row as a share of the largest, below which it is rounding", "arithmetic"
    )

    # model
    dead_variance: float = limit(
        1e-9,
        "variance over the batch as a share of the mean square, below which only rounding is left",
        "arithmetic: float32",
    )
    unit_columns: int = limit(
        4, "weights below which units may be equal by chance", "arithmetic: half precision"
    )
    equal_units: float = limit(0.1, "share of units that equal another one", "chosen")
    stuck_start: float = limit(
        1e-3, "relative distance to the plateau of a first loss that is on it", "arithmetic"
    )
    least_effect: float = limit(
        1e-6, "squared change of a unit embedding, below which it is rounding", "arithmetic"
    )
    quiet_modality: float = limit(
        0.01, "effect of a modality on the embedding, as a share of the loudest", "chosen"
    )
    silent_modality: float = limit(0.001, "the same, from which it is a warning", "chosen")
    norm_values: int = limit(
        2, "values a batch norm normalises over, up to which a sign is left", "theory"
    )

    # loss
    unit_norm: float = limit(
        2e-2, "deviation of a norm from 1", "arithmetic: half precision keeps a norm to 1e-2"
    )
    unit_axis: float = limit(1e-3, "deviation from 1 of norms over another axis", "arithmetic")
    same_loss: float = limit(
        2e-3, "relative difference of two losses that are one formula", "arithmetic: float32"
    )
    same_value: float = limit(
        1e-6, "relative difference of two losses that are one value", "arithmetic: float32"
    )
    loss_scale: float = limit(5e-3, "deviation of a loss's factor from 1", "chosen")
    half_exponent: float = limit(
        11.09, "largest exponent whose exp float16 holds", "arithmetic: ln 65504"
    )
    below_floor: float = limit(1e-3, "relative distance below the floor", "arithmetic")
    above_ceiling: float = limit(1.01, "factor above the ceiling", "arithmetic")
    lowest_temperature: float = limit(
        0.01, "temperature below which the nearest negative alone counts", "theory: exp(2/T)"
    )
    highest_temperature: float = limit(
        2.0, "temperature above which negatives weigh alike", "theory: exp(2/T) = e"
    )
    collapsed: float = limit(
        1e-3, "standard deviation of the cosines of embeddings that are one point", "chosen"
    )
    plateau_values: int = limit(3, "values from which a loss is judged to stay", "chosen")
    plateau_window: int = limit(10, "last values that are looked at", "chosen")
    plateau_share: float = limit(0.7, "share of them on the plateau", "chosen")
    plateau_width: float = limit(
        5e-4, "relative distance of a value on the plateau", "arithmetic: four printed digits"
    )
    healthy_end: float = limit(0.02, "distance to ln(n - 1), where healthy runs end", "chosen")

    # optimiser
    used_up: float = limit(1e-3, "rate as a share of its peak, below which it is used up", "chosen")
    resting_steps: int = limit(20, "steps at rate 0 that no warm-up takes", "chosen")
    frozen_update: float = limit(
        1e-7, "relative update below which weights do not move", "arithmetic: float32"
    )
    crawling_update: float = limit(1e-6, "relative update of a clipped gradient", "chosen")
    whole_update: float = limit(1.0, "relative update that replaces the weights", "theory")
    large_update: float = limit(0.1, "relative update that explains a collapse", "chosen")
    vanished_rate: float = limit(1e-12, "learning rate that counts as 0", "arithmetic")
    decay_steps: int = limit(5, "first steps in which the weights may shrink", "chosen")
    least_shrink: float = limit(
        1e-3, "share of the weights that a dominating decay takes in a step", "chosen"
    )
    heavy_decay: float = limit(
        0.05, "coupled decay of collapsed embeddings", "literature: 1e-5 to 1e-3 are usual"
    )
    large_decay: float = limit(
        0.5, "decoupled decay that deserves a note", "literature: 0.01 to 0.1 are usual"
    )
    decayed: float = limit(
        3.0, "exponent of decay over a run that may have taken the weights", "theory: e^-3 = 5 %"
    )
    weights_left: float = limit(0.1, "size of the weights, as a share of a usual one", "chosen")
    decay_left: float = limit(0.5, "weights that decay left, above which it is innocent", "chosen")
    skipped_steps: int = limit(
        18, "skips in a row that no healthy scaler makes", "arithmetic: 65536 / 2^18 < 1"
    )
    lowest_loss_scale: float = limit(2.0**-6, "loss scale below which no step survives", "chosen")
    clip_share: float = limit(1e-3, "clipping norm as a share of the gradient's norm", "chosen")

    # evaluation
    perfect: float = limit(0.99, "score that random embeddings cannot have", "theory")
    cone: float = limit(0.5, "mean cosine of embeddings in a cone", "chosen")
    cone_spread: float = limit(0.1, "spread of the cosines after centring", "chosen")
    chance_errors: float = limit(2.0, "standard errors above chance", "theory: 95 % of a test")
    norm_batches: float = limit(
        0.75, "batches a batch norm saw, as a share of the optimiser's steps", "chosen"
    )

    # checkpoint
    matching_tensors: float = limit(0.5, "share of tensors that a checkpoint must fit", "chosen")
    counted_steps: float = limit(
        0.5, "steps the optimiser counted, as a share of the history's", "chosen"
    )
    same_statistics: float = limit(
        1e-4, "relative difference of normalisation statistics", "arithmetic: float32"
    )


DEFAULT = Limits()
