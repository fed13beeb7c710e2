"""The twelve weld classes: published set-points and medians, and the cues by which each modality
may tell them.

Set-points and medians are the published ranges of the Intel Robotic Welding Multimodal Dataset
(arXiv 2409.02290); cues and event rates are made up to match the described looks and sounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Cues of a modality, 0 in a good weld: about 1 is a textbook example, signs are meaningful.
CUES: dict[str, tuple[str, ...]] = {
    "video": (
        "width",
        "height",
        "sink",
        "drift",
        "flicker",
        "fume",
        "roll",
        "arc_length",
        "abrupt",
    ),
    "image": ("width", "ridge", "flat", "groove", "lip", "rope", "bend", "soot", "star"),
    "audio": ("level", "low_band", "rough", "rate", "ending"),
    "sensor": ("noise", "abrupt"),
}

# Events of one weld, and how many a good weld has; each modality shows the same ones in its own
# way.
BACKGROUND_EVENTS: dict[str, float] = {
    "spatter": 1.5,
    "pore": 0.3,
    "drop": 0.3,
    "hole": 0.0,
    "stub": 0.5,
}


@dataclass(frozen=True)
class WeldClass:
    """One class: set-point ranges (A, V, bar), joint, plate, measured medians, mean event counts
    and cue strengths.
    """

    code: int
    name: str
    joints: tuple[str, ...]
    thickness_mm: float
    current_a: tuple[float, float]
    voltage_v: tuple[float, float]
    gas_bar: tuple[float, float]
    median_current_a: float
    median_voltage_v: float
    duration_s: float = 36.0
    events: Mapping[str, float] = field(default_factory=dict)
    cues: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    session_names: tuple[str, ...] = ()


CLASSES: tuple[WeldClass, ...] = (
    WeldClass(
        0,
        "good",
        ("butt", "fillet"),
        7,
        (150, 180),
        (18, 24),
        (3.5, 4),
        140,
        20.8,
        session_names=(
            "good_weld_{n}_{date}_plane_plate",
            "good_weld_{n}_{date}_fillet",
            "{n}_good",
            "good_{n}_after_spatter_test",
        ),
    ),
    WeldClass(
        1,
        "excessive_penetration",
        ("butt",),
        3,
        (140, 180),
        (17, 21),
        (3, 3.5),
        136,
        19.3,
        cues={
            "video": {"width": 0.8, "sink": 0.7},
            "image": {"flat": 1.0, "width": 0.5},
            "audio": {"low_band": -1.0},
        },
        session_names=("excessive_penetration_{n}_{date}", "ep_{n}_3mm", "{n}_excess_pen"),
    ),
    WeldClass(
        2,
        "burnthrough",
        ("butt",),
        3,
        (150, 175),
        (16, 24),
        (3.5, 4.5),
        150,
        21.4,
        events={"hole": 3.0, "drop": 3.0},
        cues={"video": {"sink": 0.3}, "image": {"flat": 0.3}, "audio": {"low_band": -0.4}},
        session_names=("burn_through_{n}", "burnthrough_{n}_{date}", "{n}_burn_through_thin"),
    ),
    WeldClass(
        3,
        "porosity",
        ("butt",),
        7,
        (140, 180),
        (18, 24),
        (0, 0),
        139,
        20.6,
        events={"pore": 10.0},
        cues={
            "video": {"flicker": 0.9, "fume": 0.9},
            "image": {"soot": 0.9},
            "audio": {"rough": 0.9},
            "sensor": {"noise": 0.12},
        },
        session_names=("porosity_{n}_{date}", "{n}_porosity_no_gas", "good_settings_porosity_{n}"),
    ),
    WeldClass(
        4,
        "porosity_w_excessive_penetration",
        ("butt",),
        3,
        (110, 180),
        (19, 23),
        (0, 0),
        130,
        20.4,
        events={"pore": 6.0, "drop": 7.0},
        cues={
            "video": {"flicker": 0.6, "fume": 0.5, "sink": 1.1, "width": 0.6},
            "image": {"soot": 0.4, "flat": 1.0, "width": 0.7},
            "audio": {"rough": 0.6, "low_band": -0.8},
            "sensor": {"noise": 0.1},
        },
        session_names=(
            "porosity_w_ep_{n}_{date}",
            "porosity_ep_{n}",
            "{n}_excessive_penetration_and_porosity",
        ),
    ),
    WeldClass(
        5,
        "undercut",
        ("fillet",),
        7,
        (280, 310),
        (18, 20.5),
        (3, 3.4),
        283,
        17.5,
        cues={
            "video": {"arc_length": 1.0},
            "image": {"groove": 1.0},
            "audio": {"level": 0.6, "rough": -0.7},
        },
        session_names=("undercut_{n}_{date}", "{n}_under_cut"),
    ),
    WeldClass(
        6,
        "overlap",
        ("fillet",),
        7,
        (225, 255),
        (17, 18),
        (1.9, 2.1),
        240,
        15.6,
        duration_s=22.0,
        cues={
            "video": {"roll": 1.0},
            "image": {"lip": 1.0, "width": 0.3},
            "audio": {"level": -0.8},
        },
        session_names=("overlap_{n}_{date}", "over_lap_{n}"),
    ),
    WeldClass(
        7,
        "lack_of_fusion",
        ("butt", "fillet"),
        7,
        (130, 150),
        (15, 19),
        (3.5, 4),
        124,
        15.9,
        cues={
            "video": {"width": -0.7},
            "image": {"rope": 1.0, "width": -0.4},
            "audio": {"rate": -1.0, "level": -0.8},
        },
        session_names=("lack_of_fusion_{n}_{date}", "lof_{n}", "{n}_no_fusion_good_gas"),
    ),
    WeldClass(
        8,
        "excessive_convexity",
        ("fillet",),
        7,
        (290, 300),
        (17, 18),
        (3, 3.4),
        279,
        15.4,
        events={"stub": 10.0},
        cues={
            "video": {"width": -0.6, "height": 0.8},
            "image": {"ridge": 1.0, "width": -0.6},
            "audio": {"rate": -0.4},
        },
        session_names=("excessive_convexity_{n}_{date}", "convex_{n}", "{n}_convexity"),
    ),
    WeldClass(
        9,
        "spatter",
        ("butt", "fillet"),
        7,
        (150, 170),
        (12, 17),
        (3, 3.5),
        141,
        15.3,
        events={"spatter": 26.0},
        cues={"audio": {"rough": 0.6}, "sensor": {"noise": 0.24}, "video": {"flicker": 0.3}},
        session_names=("{n}_spatter", "spatter_{n}_{date}"),
    ),
    WeldClass(
        10,
        "warping",
        ("butt",),
        7,
        (155, 180),
        (18, 26),
        (3.5, 4.5),
        141,
        20.9,
        cues={"video": {"drift": 1.0}, "image": {"bend": 1.0}},
        session_names=("warping_{n}_{date}", "{n}_warped_good_bead", "warp_{n}"),
    ),
    WeldClass(
        11,
        "crater_cracks",
        ("fillet",),
        7,
        (290, 305),
        (18.5, 20),
        (2, 2.6),
        275,
        17.4,
        cues={
            "video": {"abrupt": 1.0},
            "image": {"star": 1.0},
            "audio": {"ending": 1.0},
            "sensor": {"abrupt": 1.0},
        },
        session_names=("crater_cracks_{n}_{date}", "crater_{n}", "{n}_crater_crack"),
    ),
)

CLASS_NAMES = tuple(weld_class.name for weld_class in CLASSES)
