"""README's "Your own data", followed literally with files as a phone, a logger and a camera write
them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.test_readme import blocks, run

VARIABLE_RATE = (
    "select='lt(t,1)+not(mod(n,5))',scale=64:48"  # 25 frames in the first second, then five
)


def write_recording(folder: Path, kind: int, seed: int) -> None:
    """A rotated video of variable rate, a German log, a 24-bit stereo sound, three photos."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    command = (
        f"ffmpeg -v error -f lavfi -i testsrc2=s=64x48:r=25:d=3,noise=alls=60:all_seed={seed} "
        f"-vf {VARIABLE_RATE} -fps_mode vfr -c:v mpeg4 -q:v 4 {folder}/flat.mp4"
    )
    subprocess.run(command.split(), check=True)
    turn = (
        f"ffmpeg -v error -i {folder}/flat.mp4 -c copy -metadata:s:v rotate=90 {folder}/phone.mp4"
    )
    subprocess.run(turn.split(), check=True)
    (folder / "flat.mp4").unlink()
    seconds = np.sort(random.uniform(0, 3, 300))
    bar = 2 + kind + random.normal(0, 0.3, 300)
    lines = ["Messung;Anlage 7", "Zeit [s];Druck [bar]"]
    lines += [f"{t:.4f};{p:.3f}".replace(".", ",") for t, p in zip(seconds, bar, strict=True)]
    (folder / "logger.csv").write_text("\n".join(lines) + "\n", encoding="cp1252")
    sound = random.normal(0, 0.02 * (kind + 1), (48000, 2))
    soundfile.write(str(folder / "sound.wav"), sound, 16000, subtype="PCM_24")
    for view in range(3):
        pixels = random.integers(0, 100 + 100 * kind, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"view{view}.jpg")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="needs the command ffmpeg to make files")
def test_from_a_folder_to_a_trained_run_in_three_commands(tmp_path):
    for number in range(16):
        kind, day, part = number % 2, number // 4, number // 2 % 2
        place = tmp_path / "recordings" / ["good", "bad"][kind] / f"day{day}" / f"r{part}"
        write_recording(place, kind, number)
    make, check, train = blocks("shell")[0].strip().splitlines()
    assert "16 recordings, bad 8, good 8" in run(make.split(), tmp_path)
    header, first, *_ = (tmp_path / "recordings/recordings.csv").read_text().splitlines()
    assert header == "sample_id,label,group,audio,image,series,video"
    assert first.startswith("bad/day0/r0,bad,day0,bad/day0/r0/sound.wav,bad/day0/r0/view0.jpg|bad/")
    text = run(check.split(), tmp_path)
    for said in (
        "video: video, 16 of 16 recordings",
        "files: 48 .jpg",
        "channel Druck [bar]: ",
        "clock: Zeit, ",
        "1 line above the header passed over",
        "sessions: 4, of 4 to 4 recordings",
        "classes: 2: ",
        "16 recordings checked, no problems",
    ):
        assert said in text, said
    run(train.split(), tmp_path)
    record = json.loads((tmp_path / "outputs/mine/run.json").read_text())
    assert record["status"] == "done"
    assert record["settings"]["path"] == str(tmp_path / "recordings/recordings.csv")
