from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import soundfile

from quadlib.config import MediaSettings
from quadlib.data.decoding.damage import DamageError
from quadlib.data.kinds.audio import decode_audio, loudness, mel_filters

SETTINGS = MediaSettings(audio_mel_bins=40, audio_frames=24)


def sine(
    frequency_hz: float = 1000, level: float = 1.0, seconds: float = 1.0, rate: int = 16000
) -> np.ndarray:
    return level * np.sin(2 * np.pi * frequency_hz * np.arange(int(seconds * rate)) / rate)


def test_levels_are_absolute_and_full_scale_is_about_zero(media):
    loud = decode_audio(media.flac("loud.flac", sine(level=0.999)), SETTINGS)
    quiet = decode_audio(media.flac("quiet.flac", sine(level=0.0999)), SETTINGS)
    assert loud.shape == (2, 40, 24) and loud.dtype == np.float32
    band = loud[0].mean(axis=1).argmax()
    assert loud[0, band].max() == pytest.approx(0, abs=2.5)
    assert (loud - quiet)[:, band] == pytest.approx(np.full((2, 24), 20.0), abs=0.3)


def test_silence_is_the_floor_and_not_damage(media):
    assert decode_audio(media.flac("s.flac", np.zeros(16000)), SETTINGS) == pytest.approx(
        np.full((2, 40, 24), -100.0)
    )


def test_a_burst_of_five_milliseconds_is_never_lost(media):
    for start in range(3000, 3400, 37):
        samples = np.zeros(16000)
        samples[start : start + 80] = 0.5
        spectrogram = decode_audio(media.flac("b.flac", samples), SETTINGS)
        assert spectrogram[1].max() > -45
        assert spectrogram[1].max() > spectrogram[0].max()


def test_the_arc_window_by_time(media):
    samples = np.concatenate([np.zeros(8000), sine(seconds=0.5), np.zeros(8000)])
    spectrogram = decode_audio(media.flac("w.flac", samples), SETTINGS, (0.5, 1.0))
    assert spectrogram[0].max(axis=0).min() > -10


def test_stereo_and_other_rates_give_the_same_spectrum(media):
    mono = decode_audio(media.flac("m.flac", sine()), SETTINGS)
    stereo = decode_audio(media.flac("st.flac", np.stack([sine(), sine()], axis=1)), SETTINGS)
    other = decode_audio(media.flac("o.flac", sine(rate=44100), rate=44100), SETTINGS)
    assert np.array_equal(mono, stereo)
    band = mono[0].mean(axis=1).argmax()
    assert other[0, band, 2:-2] == pytest.approx(mono[0, band, 2:-2], abs=0.2)


def test_shorter_than_one_window(media):
    assert np.isfinite(decode_audio(media.flac("t.flac", sine(seconds=0.01)), SETTINGS)).all()


def test_no_band_is_empty():
    for bands in (8, 48, 128):
        assert mel_filters(bands, 512, 16000).max(axis=1).min() > 0


def test_damage(media):
    path = media.flac("d.flac")
    content = path.read_bytes()
    for broken in (b"", content[: len(content) // 2], content[:-40], b"garbage" * 50):
        path.write_bytes(broken)
        with pytest.raises(DamageError, match=r"d\.flac"):
            decode_audio(path, SETTINGS)
    nan = sine().astype(np.float32)
    nan[77] = np.nan
    soundfile.write(str(media.path("n.wav")), nan, 16000, subtype="FLOAT")
    with pytest.raises(DamageError, match="1 samples are not finite"):
        decode_audio(media.root / "n.wav", SETTINGS)


def test_a_later_window_is_the_sound_of_that_time(media):
    random = np.random.default_rng(0)
    samples = random.normal(0, 0.1, 16000 * 11)
    whole = decode_audio(media.flac("w.flac", samples), SETTINGS, (5.0, 7.0))
    part = decode_audio(media.flac("p.flac", samples[80000:112000]), SETTINGS)
    assert whole == pytest.approx(part, abs=1e-3)


def test_loudness_of_every_hundredth_of_a_second(media):
    samples = np.concatenate([np.zeros(8000), sine(seconds=0.5)])
    times, levels = loudness(media.flac("l.flac", samples))
    assert len(times) == 100 and times[50] == pytest.approx(0.5)
    assert levels[:, :50] == pytest.approx(-100)
    assert levels[0, 50:] == pytest.approx(-3.01, abs=0.1) and (levels[1] <= levels[0]).all()


def test_an_hour_of_stereo_stays_below_200_mb(tmp_path):
    path = tmp_path / "hour.wav"
    program = (
        "import sys, pathlib, numpy, soundfile\n"
        "from quadlib.config import MediaSettings\n"
        "from quadlib.data.kinds.audio import decode_audio\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "minute = numpy.random.default_rng(0).normal(0, 0.1, (60 * 4000, 2)).astype('f4')\n"
        "with soundfile.SoundFile(path, 'w', 4000, 2, 'PCM_16') as sound:\n"
        "    for _ in range(60): sound.write(minute)\n"
        "decode_audio(path, MediaSettings(audio_sample_rate_hz=4000))\n"
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(int(status.split('VmHWM:')[1].split()[0]) / 1024)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 200


def test_a_sound_shorter_than_a_hundredth_of_a_second_has_no_loudness(media):
    path = media.flac("s.flac", sine(seconds=0.004))
    assert decode_audio(path, SETTINGS).shape == (2, 40, 24)
    assert len(loudness(path)[0]) == 0
