"""`make lock`: writes requirements.lock and .ci/cuda.lock anew, with the hashes of every file that
the registry holds of the versions pinned there; change a pin first, by hand.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEADERS = {
    "requirements.lock": """\
# The tested set, with the hashes of its files for every platform (make lock writes them):
#     pip install --no-deps --require-hashes -r requirements.lock
# On Linux, torch is the CUDA build, which needs .ci/cuda.lock too, unless the CPU build of
# .ci/cpu.lock is there before. macOS 14 or later.
""",
    ".ci/cuda.lock": """\
# What torch's CUDA build needs on Linux beside requirements.lock, on x86-64 and arm64 alike.
""",
}


def main() -> None:
    for name, header in HEADERS.items():
        path = ROOT / name
        pins = re.findall(r"^[\w.-]+==[^\s\\]+(?: ; [^\\\n]+)?", path.read_text(), re.M)
        command = [str(Path(sys.executable).with_name("uv")), "pip", "compile", "-", "--universal"]
        command += ["--no-deps", "--generate-hashes", "--no-header", "--no-annotate", "--quiet"]
        command += ["--python-version", "3.11.2"]  # Debian 12
        text = subprocess.run(
            command, input="\n".join(pins), capture_output=True, text=True, check=True
        ).stdout
        path.write_text(header + text)


if __name__ == "__main__":
    main()
