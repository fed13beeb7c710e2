"""Sounds, videos and photos of further phones, cameras and programs."""

import io
import struct
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from .case import Case, Made, ffmpeg, listed
from .clips import FRAMES, H264, clips, coded, encode, film
from .photos import photos, scene
from .sounds import RATE, sounds, tune, with_ffmpeg, with_soundfile

CASES: list[Case] = []


@listed(CASES, source="MP3 with a large cover picture in its ID3 tag")
def mp3_with_cover(folder: Path) -> Made:
    cover = folder / "cover.png"
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=640x640", "-frames:v", "1", cover)
    return with_ffmpeg(
        folder,
        "mp3",
        "-i",
        str(cover),
        "-map",
        "0:a",
        "-map",
        "1:v",
        "-c:a",
        "libmp3lame",
        "-b:a",
        "128k",
        "-c:v",
        "copy",
        rate=44100,
    )


@listed(CASES, source="Sun .au of telephones: mu-law")
def au_mu_law(folder: Path) -> Made:
    return with_soundfile(folder, "au", 8000, subtype="ULAW", tolerance=1.5)


@listed(CASES, source="Sony Wave64")
def wave64(folder: Path) -> Made:
    return with_soundfile(folder, "w64", 48000, subtype="PCM_24")


@listed(
    CASES,
    "right or refused",
    says=r"snd0\.wav(.|\n)*24 bits|24 bits(.|\n)*snd0\.wav",
    source="24 valid bits in samples of 32 (WAVE_FORMAT_EXTENSIBLE): libsndfile reads them, ffmpeg 5.1 takes them for floats",
)
def wav_24_in_32_bits(folder: Path) -> Made:
    def write(path: Path, number: int) -> tuple[np.ndarray, int]:
        samples = tune(number)
        soundfile.write(path, samples, RATE, format="WAVEX", subtype="PCM_32")
        data = bytearray(path.read_bytes())
        data[38:40] = struct.pack("<H", 24)
        path.write_bytes(data)
        return samples, RATE

    return sounds(folder, write)


@listed(
    CASES,
    source="the sound of a video, in a column of .mp4 called sound",
    good="right or refused",
    says=r"video|snd0\.mp4",
)
def sound_of_a_video(folder: Path) -> Made:
    return with_ffmpeg(folder, "mka", "-c:a", "aac", "-b:a", "96k", rate=44100)


@listed(CASES, "refused", says=r"snd3\.wav.*finite", source="NaN in a 32-bit float recording")
def wav_with_nan(folder: Path) -> Made:
    def write(path: Path, number: int) -> tuple[np.ndarray, int]:
        samples = tune(number)
        broken = samples.copy()
        broken[500:510] = np.nan if number == 3 else broken[500:510]
        soundfile.write(path, broken, RATE, subtype="FLOAT")
        return samples, RATE

    return sounds(folder, write)


@listed(CASES, source="Windows Media Audio of dictation machines")
def wma(folder: Path) -> Made:
    return with_ffmpeg(folder, "wma", "-c:a", "wmav2", "-b:a", "96k", rate=44100)


@listed(CASES, source="MediaRecorder of a browser: WebM without a length and without cues")
def webm_of_a_browser(folder: Path) -> Made:
    def write(path: Path, number: int) -> None:
        plain = path.with_suffix(".plain.webm")
        encode(
            plain,
            film(number),
            "-c:v",
            "libvpx",
            "-b:v",
            "3M",
            "-deadline",
            "realtime",
            "-pix_fmt",
            "yuv420p",
        )
        ffmpeg("-i", plain, "-c", "copy", "-live", "1", "-f", "webm", path)

    return clips(folder, write, "webm")


@listed(CASES, source="OBS and dash cameras: fragmented MP4")
def mp4_fragmented(folder: Path) -> Made:
    return coded(
        folder, *H264, "-g", "12", "-movflags", "+frag_keyframe+empty_moov+default_base_moof"
    )


@listed(CASES, source="odd sizes: 161 x 97")
def odd_size(folder: Path) -> Made:
    def write(path: Path, number: int) -> None:
        encode(
            path,
            film(number, width=161, height=97),
            "-c:v",
            "libx264",
            "-crf",
            "12",
            "-pix_fmt",
            "yuv444p",
        )

    return clips(folder, write)


@listed(CASES, source="lossless RGB of screen recorders")
def h264_rgb(folder: Path) -> Made:
    return coded(folder, "-c:v", "libx264rgb", "-crf", "0", "-pix_fmt", "rgb24", ending="mkv")


@listed(CASES, source="the picture starts half a second after the sound (an empty edit)")
def picture_starts_late(folder: Path) -> Made:
    def write(path: Path, number: int) -> None:
        plain, tone = path.with_suffix(".plain.mp4"), path.with_suffix(".wav")
        encode(plain, film(number), *H264)
        soundfile.write(tone, 0.1 * np.sin(np.arange(16000 * 2) / 10), 16000)
        ffmpeg(
            "-itsoffset",
            "0.5",
            "-i",
            plain,
            "-i",
            tone,
            "-map",
            "0:v",
            "-map",
            "1:a",
            "-c:v",
            "copy",
            "-c:a",
            "aac",
            path,
        )

    return clips(folder, write, tolerance=8.0)


@listed(CASES, source="high-speed cameras: 1000 frames a second")
def high_speed(folder: Path) -> Made:
    return coded(folder, *H264, rate="1000", count=100, ending="avi")


@listed(CASES, source="old phones: MPEG-4 part 2 in 3GP")
def mpeg4_in_3gp(folder: Path) -> Made:
    return coded(folder, "-c:v", "mpeg4", "-q:v", "2", "-pix_fmt", "yuv420p", ending="3gp")


@listed(
    CASES,
    source="CCTV: a transport stream cut anywhere, so that it starts between key frames",
    good="right or refused",
    says=r"clip0\.ts",
)
def ts_from_the_middle(folder: Path) -> Made:
    def write(path: Path, number: int) -> None:
        whole = path.with_suffix(".whole.ts")
        encode(whole, film(number, 2 * FRAMES), *H264, "-g", "48", "-bf", "0")
        data = whole.read_bytes()
        path.write_bytes(data[len(data) // 4 // 188 * 188 :])

    # A second in three has no frame that can be decoded: the first one stands for it.
    return clips(
        folder, write, "ts", share=lambda at: 0.5 + max(at - 1 / 3, 0) * 0.75, tolerance=6.0
    )


@listed(CASES, source="Google and Samsung motion photos: a video behind the JPEG")
def motion_photo(folder: Path) -> Made:
    def write(path: Path, number: int) -> Image.Image:
        Image.fromarray(scene(number)).save(path, quality=95)
        clip = folder / "clip.mp4"
        encode(clip, film(number, 8), *H264)
        still = path.read_bytes()
        path.write_bytes(still + clip.read_bytes())
        return Image.open(io.BytesIO(still)).convert("RGB")

    return photos(folder, write, "jpg")


@listed(CASES, source="JPEG in grey")
def jpeg_grey(folder: Path) -> Made:
    def write(path: Path, number: int) -> Image.Image:
        Image.fromarray(scene(number)[..., 1]).save(path, quality=95)
        return Image.open(path).convert("RGB")

    return photos(folder, write, "jpg")


@listed(CASES, source="ImageJ: 16-bit grey TIFF, big-endian")
def tiff_16_bit_big_endian(folder: Path) -> Made:
    def write(path: Path, number: int) -> np.ndarray:
        grey = scene(number)[..., 1]
        source = path.with_suffix(".png")
        Image.fromarray(grey.astype(np.uint16) * 257).save(source)
        ffmpeg("-i", source, "-pix_fmt", "gray16be", path)
        return np.stack([grey] * 3, -1)

    return photos(folder, write, "tif")


@listed(CASES, source="Netpbm of 16 bits")
def pgm_16_bit(folder: Path) -> Made:
    def write(path: Path, number: int) -> np.ndarray:
        grey = scene(number)[..., 1]
        path.write_bytes(
            b"P5\n%d %d\n65535\n" % grey.shape[::-1]
            + (grey.astype(">u2") * 257).astype(">u2").tobytes()
        )
        return np.stack([grey] * 3, -1)

    return photos(folder, write, "pgm")


@listed(CASES, source="microscopes: TIFF in LZW with a predictor, RGB of 16 bits")
def tiff_rgb_16_bit(folder: Path) -> Made:
    def write(path: Path, number: int) -> np.ndarray:
        source = path.with_suffix(".png")
        Image.fromarray(scene(number)).save(source)
        ffmpeg("-i", source, "-pix_fmt", "rgb48le", "-compression_algo", "lzw", path)
        return scene(number)

    return photos(folder, write, "tif")


@listed(CASES, source="interlaced PNG of web cameras")
def png_of_a_palette_of_16(folder: Path) -> Made:
    def write(path: Path, number: int) -> Image.Image:
        Image.fromarray(scene(number)).quantize(16).save(path, bits=4)
        return Image.open(path).convert("RGB")

    return photos(folder, write)


@listed(CASES, source="AVIF of browsers")
def avif(folder: Path) -> Made:
    def write(path: Path, number: int) -> Image.Image:
        Image.fromarray(scene(number)).save(path, quality=95)
        return Image.open(path).convert("RGB")

    return photos(folder, write, "avif")
