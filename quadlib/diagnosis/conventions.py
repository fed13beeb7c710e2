"""Every name that a foreign pipeline is searched for, in the order of the search.

How a model is called and what its loss is given is seen in a step, never searched for. The comment
above each name is its line in the README's table.
"""

from __future__ import annotations

import re

# labels of a batch of which no step was seen
BATCH_LABELS = ("labels", "label", "y", "target", "targets")
# table rows that a batch says it holds
BATCH_ROWS = ("index", "indices", "idx", "rows", "row")

# split that is trained on, in a table or a mapping of splits
TRAIN_SPLITS = ("train", "training", "TRAIN")
# names of the training split in settings and stored evaluations, in lower case
TRAIN_NAMES = ("train", "training")
# splits whose scores the history holds
VALIDATION_SPLITS = ("val", "valid", "validation", "test")

# words in the names of a loop's variables that hold what is trained on
TRAINED_WORDS = ("train", "training", "trn", "tr")
# words in the names of those that hold what evaluates
EVALUATED_WORDS = (
    "test",
    "testing",
    "tst",
    "te",
    "val",
    "valid",
    "validation",
    "va",
    "eval",
    "evaluation",
    "dev",
    "holdout",
    "heldout",
    "unseen",
)
# those of them that hold what the last score is of, and what is looked at before
TESTED_WORDS = ("test", "testing", "tst", "te")
VALIDATED_WORDS = (
    "val",
    "valid",
    "validation",
    "va",
    "dev",
    "holdout",
    "heldout",
    "tune",
    "tuning",
)
# words in the names of those that say whose each sample is
GROUP_WORDS = (
    "subject",
    "subjects",
    "patient",
    "patients",
    "participant",
    "participants",
    "session",
    "sessions",
    "recording",
    "recordings",
    "group",
    "groups",
    "subj",
    "person",
    "persons",
    "speaker",
    "speakers",
    "user",
    "users",
    "animal",
    "animals",
    "rec",
    "recs",
)

# parts of the names of functions that measure what features hold
PROBE_NAMES = ("probe", "linear_eval", "lineareval")
# parts of the names of masks that are True where something is there
PRESENT_WORDS = (
    *("present", "valid", "observed", "available", "attention_mask"),
    *("have", "has", "exists", "avail"),
)
# words in the names of modules that follow a trained one
TEACHER_WORDS = ("teacher", "target", "momentum", "ema", "shadow", "offline", "k", "key")

# columns of a table that hold no modality
TABLE_COLUMNS = ("sample_id", "label", "group", "split")
# columns that hold class indices beside the label
CODE_COLUMNS = (
    "label_index",
    "label_id",
    "label_code",
    "class_index",
    "class_id",
    "class_code",
    "code",
    "target",
    "y",
)
# label of a sample that has none
NO_CLASS = "-1"
# columns that hold files, beside those that end in _path
FILE_COLUMNS = ("file", "files", "filename", "filepath", "file_path", "path", "paths")
# columns that say whose sample a modality's file or row is
MODALITY_ID_COLUMNS = ("{}_id", "{}_sample_id", "id_{}")
# columns that name each sample, by which one is found in two splits
NAME_COLUMNS = (
    "sample_id",
    "id",
    "uid",
    "uuid",
    "key",
    "image_id",
    "file",
    "filename",
    "file_name",
    "path",
)
# columns that name the session of a sample
SESSION_COLUMNS = ("group", "session", "subject", "recording", "recording_id")
# columns that name what a sample was measured with, which has one unit
SOURCE_COLUMNS = ("source", "device", "subject", "session", "group")
# columns that name the recording from which windows were cut
RECORDING_COLUMNS = (
    "recording",
    "recording_id",
    "record",
    "source_id",
    "source",
    "file",
    "session",
    "group",
    "subject",
)
# columns of the start and the end of a window
WINDOW_COLUMNS = (
    ("start", "end"),
    ("start_s", "end_s"),
    ("start_time", "end_time"),
    ("window_start", "window_end"),
    ("begin", "end"),
    ("start_step", "end_step"),
    ("start_index", "end_index"),
    ("t0", "t1"),
    ("onset", "offset"),
)
# columns of the sample rate in Hz
RATE_COLUMNS = ("sample_rate_hz", "sample_rate", "sampling_rate", "rate_hz")
# class names that file systems and editors leave behind
JUNK_CLASSES = re.compile(
    r"\.|__|~|lost\+found$|thumbs\.db$|desktop\.ini$|\$recycle\.bin$", re.IGNORECASE
)
# extensions of the files of each kind of data
EXTENSIONS = {
    "video": {".avi", ".mp4", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".m4v", ".wmv"},
    "image": {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".gif"},
    "audio": {".wav", ".flac", ".mp3", ".ogg", ".m4a", ".aac", ".opus"},
    "series": {".csv", ".tsv", ".parquet", ".xlsx", ".feather"},
}
# extensions of audio files whose header says the sample rate
RATE_HEADERS = (".wav", ".flac")
# ratios of two scales that a wrong unit or sample rate leaves behind
UNIT_RATIOS = {
    9.80665: "g against m/s2",
    44100 / 16000: "44.1 kHz against 16 kHz",
    3.0: "48 kHz against 16 kHz",
    1000.0: "milli against 1",
    100.0: "per cent or centi against 1",
    60.0: "minutes against seconds",
    25.4: "inch against mm",
    57.29578: "degrees against radians",
    3.6: "km/h against m/s",
    6.894757: "psi against kPa",
    14.50377: "bar against psi",
    255.0: "bytes against 0 to 1",
    32768.0: "16-bit integers against -1 to 1",
}

# settings: samples in a batch
BATCH_SIZE = ("batch_size", "train_batch_size")
# settings: batches whose gradients are added up before a step
ACCUMULATION = ("accumulation_steps", "gradient_accumulation_steps", "accumulate_grad_batches")
# settings: samples in each of those batches
MICRO_BATCH = ("micro_batch", "micro_batch_size")
# settings: views of each sample
VIEWS = ("n_views", "views")
# settings: processes that train together
WORLD_SIZE = ("world_size", "num_processes")
# settings: epochs of the training
EPOCHS = ("epochs", "n_epochs", "num_epochs", "max_epochs", "num_train_epochs", "total_epochs")
# the optimiser steps of a run
RUN_STEPS = (
    "steps",
    "train_steps",
    "n_iters",
    "iterations",
    "num_iterations",
    "max_steps",
    "total_steps",
    "num_training_steps",
    "n_steps",
    "num_steps",
    "max_iters",
    "max_iterations",
    "n_iter",
)
# settings: learning rate
LEARNING_RATE = ("learning_rate", "lr")
# settings: steps of warm-up
WARMUP_STEPS = ("warmup_steps", "num_warmup_steps")
# settings: norm at which gradients are clipped
CLIP_NORM = ("clip_norm", "max_grad_norm", "gradient_clip_val", "grad_clip")
# settings, and attributes and arguments of a loss: its temperature
TEMPERATURE = ("temperature", "tau", "temp")
# settings: what is frozen on purpose
FREEZE = (
    "freeze",
    "frozen",
    "freeze_backbone",
    "freeze_encoder",
    "freeze_encoders",
    "linear_probe",
    "probe",
)
# settings: batch norms that are frozen on purpose
FREEZE_NORM = ("freeze_bn", "freeze_batch_norm")
# settings: weights that come from elsewhere
PRETRAINED = ("pretrained", "pretrained_encoders", "backbone")
# settings: sample rate in Hz
SAMPLE_RATE = ("sample_rate_hz", "sample_rate", "expected_sample_rate_hz", "sampling_rate")
# settings, and keys of a checkpoint: the figure that picks the best model
MONITOR = ("monitor", "metric_for_best_model", "best_metric", "checkpoint_metric")
# settings: whether a higher figure is better
MONITOR_MODE = ("monitor_mode", "mode", "greater_is_better")
# settings: the split that is evaluated
EVALUATED_SPLIT = ("eval_split", "evaluate_on", "val_split")
# what a sampler or a mapping of settings declares of its batches
SAMPLER_LAW = ("batch_size", "min_classes", "min_per_class")

# history: the contrastive loss of a record
HISTORY_LOSS = ("fused", "loss", "train_loss")
# history: the learning rate of a record
HISTORY_RATE = ("learning_rate", "lr")
# history: beginnings of the names of validation scores
VALIDATION_PREFIXES = ("val", "test", "eval")
# history: parts of the names of validation scores
VALIDATION_SCORES = ("acc", "f1", "top1", "precision", "recall")
# figures of evaluate that are scores
SCORES = re.compile(r"acc|top.?1|precision|p@|recall|f1|map|mrr|r_prec", re.IGNORECASE)
# parts of the names of figures of which the highest is best
HIGHER_IS_BETTER = (
    "acc",
    "f1",
    "map",
    "auc",
    "auroc",
    "recall",
    "precision",
    "mrr",
    "top1",
    "top5",
    "rank1",
    "knn",
    "ndcg",
    "hits",
    "nmi",
    "iou",
    "dice",
    "kappa",
    "purity",
    "score",
    "progress",
)
# parts of the names of figures of which the lowest is best
LOWER_IS_BETTER = ("loss", "error", "excess", "perplexity", "distance", "eer")

# names of losses that claim to be SupCon, letters in lower case
SUPCON_NAMES = frozenset(
    {
        "supcon",
        "supconloss",
        "supervisedcontrastive",
        "supervisedcontrastiveloss",
        "supconcriterion",
    }
)
# parts of the names of losses that need no labels
LABEL_FREE_LOSSES = (
    "ntxent",
    "infonce",
    "simclr",
    "self",
    "uniform",
    "align",
    "vicreg",
    "barlow",
    "reconstruct",
)
# attributes of a scheduler: how many calls it spans
SCHEDULE_SPAN = ("T_max", "total_steps", "total_iters")

# parts of the names of variables that keep the best weights
BEST_NAMES = ("best",)
# checkpoint: weights of the model
MODEL_KEYS = (
    "model",
    "state_dict",
    "model_state_dict",
    "model_state",
    "net",
    "network",
    "encoder",
    "weights",
)
# checkpoint: state of the optimiser
OPTIMISER_KEYS = (
    "optimiser",
    "optimizer",
    "optimizer_state_dict",
    "optimiser_state_dict",
    "optimizer_state",
    "optim",
)
# checkpoint: state of the scheduler
SCHEDULER_KEYS = ("scheduler", "lr_scheduler", "scheduler_state_dict", "lr_scheduler_state_dict")
# checkpoint: state of the gradient scaler
SCALER_KEYS = ("scaler", "grad_scaler")
# checkpoint: steps done
STEP_KEYS = ("step", "global_step", "iteration")
# checkpoint: epochs done
EPOCH_KEYS = ("epoch", "epochs")
# checkpoint: names of the classes
CLASS_KEYS = ("class_names", "classes", "class_to_idx", "label_map")
# parts of file names of checkpoints that a run resumes from
RESUMED_FILES = ("latest", "last")
# prefixes that wrappers put before the names of weights
WEIGHT_PREFIXES = (
    "module.",
    "_orig_mod.",
    "model.",
    "encoder_q.",
    "encoder.",
    "backbone.",
    "net.",
    "student.",
    "teacher.",
)
