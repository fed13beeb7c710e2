"""Files that would lead FFmpeg to the network or to other files lead it nowhere."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n"
    "m=video 5004 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
)
CONTENTS = {
    "sdp": SDP,
    "concat": "ffconcat version 1.0\nfile neighbour.avi\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n",
    "local hls": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nneighbour.avi\n#EXT-X-ENDLIST\n",
    "dash": '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>http://127.0.0.1:9/</BaseURL></MPD>',
}
PROGRAM = """
import sys
from pathlib import Path
from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import DamageError
from quadlib.data.kinds import audio, video
for path in sorted(Path(sys.argv[1]).glob("[0-9].*")):
    for read in (video.decode_video, audio.decode_audio):
        try:
            read(path, MediaSettings())
        except DamageError:
            print("refused")
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_no_file_opens_a_socket_or_a_neighbour(tmp_path):
    (tmp_path / "neighbour.avi").write_bytes(b"RIFF")
    for number, text in enumerate(CONTENTS.values()):
        for ending in ("avi", "mp4"):
            (tmp_path / f"{number}.{ending}").write_text(text)
    log = tmp_path / "calls"
    calls = ["strace", "-f", "-qq", "-o", str(log), "-e", "trace=socket,connect,bind,openat"]
    done = subprocess.run(
        [*calls, sys.executable, "-c", PROGRAM, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.split() == ["refused"] * 4 * len(CONTENTS)
    seen = log.read_text()
    assert "0.avi" in seen and "neighbour" not in seen
    assert not [line for line in seen.splitlines() if "AF_INET" in line]
