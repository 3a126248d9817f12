"""Randomly damaged files of every format, and decompression bombs, in a pool of real decoder processes."""

import asyncio
import collections
import io
import os
import random
import struct
import time
import zlib

import pillow_heif
import pytest
from PIL import Image, PngImagePlugin

from tests.support.mutations import MUTATIONS
from tests.support.pictures import animation, encoded, noise, quadrants, stored_as
from tests.support.pools import MEDIUM, make_pool, outputs_of
from worker.decoder_pool.pool import DecoderPool
from worker.decoder_pool.process_memory import resident_bytes
from worker.domain.errors import RejectedError
from worker.domain.recipe import Animation, Limits, Recipe, Size, Watermark

CASES = int(os.environ.get("IMAGE_WORKER_FUZZ_CASES", "600"))
STEP_TIMEOUT_S = 10.0
RECIPES = (
    Recipe(sizes=(MEDIUM,), watermark=Watermark("Fuzz")),
    Recipe(sizes=(Size("small", 60, 60),), watermark=Watermark("Fuzz"), animation=Animation.KEEP),
)
CODES = {kind.code for kind in RejectedError.__subclasses__()}


def seeds() -> list[bytes]:
    """Return small valid files of every format."""
    small, grey = quadrants(90, 60), noise(48, 32, mode="L")
    exif = stored_as(6, upright=small)
    files = [
        encoded(small, "JPEG"),
        encoded(noise(64, 48), "JPEG", progressive=True),
        encoded(small.convert("CMYK"), "JPEG"),
        exif,
        encoded(noise(40, 30), "PNG"),
        encoded(small.quantize(8), "PNG"),
        encoded(noise(40, 30, mode="RGBA"), "PNG"),
        encoded(small, "WEBP"),
        encoded(noise(40, 30, mode="RGBA"), "WEBP", lossless=True),
        animation("WEBP", frames=3),
        encoded(small, "GIF"),
        animation("GIF", frames=3),
        encoded(small, "TIFF"),
        encoded(grey, "TIFF", compression="tiff_lzw"),
        encoded(small, "TIFF", compression="jpeg"),
        encoded(small, "BMP"),
        encoded(small, "AVIF"),
    ]
    file = io.BytesIO()
    pillow_heif.from_pillow(small).save(file)
    return [*files, file.getvalue()]


def resident_mb(pid: int) -> int:
    return resident_bytes(pid) // 2**20


async def test_every_damaged_file_is_completed_or_rejected_with_a_code() -> None:
    seed = int(os.environ.get("IMAGE_WORKER_FUZZ_SEED", str(random.SystemRandom().randrange(10**9))))
    print(f"IMAGE_WORKER_FUZZ_SEED={seed}")
    dice, files = random.Random(seed), seeds()
    found: collections.Counter[str] = collections.Counter()
    slowest_s = 0.0
    async with make_pool(processes=2, step_timeout_s=STEP_TIMEOUT_S) as pool:
        initial_mb = min(resident_mb(pid) for pid in pool.pids)

        async def process(number: int) -> None:
            nonlocal slowest_s
            content = dice.choice(MUTATIONS)(dice.choice(files), dice, files)
            started = time.monotonic()
            try:
                await outputs_of(pool, content, RECIPES[number % 2])
                found["completed"] += 1
            except RejectedError as rejected:
                assert rejected.code in CODES, (number, rejected)  # noqa: PT017 - completed is also fine
                found[rejected.code] += 1
            slowest_s = max(slowest_s, time.monotonic() - started)

        before_mb = 0
        for start in range(0, CASES, 4):
            await asyncio.gather(*(process(number) for number in range(start, min(start + 4, CASES))))
            if start == CASES // 8 * 4:
                before_mb = resident_mb(os.getpid())
        growth_mb = [resident_mb(pid) - initial_mb for pid in pool.pids]
        restarts = pool.restarts
    print(dict(found), f"slowest {slowest_s:.2f} s, restarts {restarts}, growth {growth_mb} MB")
    assert sum(found.values()) == CASES
    assert slowest_s < 3 * STEP_TIMEOUT_S + 5
    assert found["completed"] > CASES // 20
    assert resident_mb(os.getpid()) - before_mb < 48
    assert all(growth < 400 for growth in growth_mb)


def png(*chunks: tuple[bytes, bytes], width: int = 8, height: int = 8) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\0" * 3 * width) * height) if width * height < 10**6 else b""
    parts = ((b"IHDR", header), *chunks, (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def gif_of_549_megapixels() -> bytes:
    """Return half a megabyte that decompresses to 600 frames of 957 x 956."""
    frame = encoded(Image.new("P", (957, 956)), "GIF")
    start = frame.index(b"\x2c", 13)
    head, body = frame[:start], frame[start:-1]
    return head + body * 600 + b"\x3b"


def giant_text_chunk() -> bytes:
    return png((b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 100_000_000, 9)))


def deep_profile() -> bytes:
    return png((b"iCCP", b"icc\0\0" + zlib.compress(b"\0" * 100_000_000, 9)))


def many_text_chunks() -> bytes:
    chunk = (b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 1_000_000, 9))
    return png(*([chunk] * 200))


async def test_a_decompression_bomb_is_rejected_within_a_second() -> None:
    bombs = {
        "png": (png(width=30_000, height=30_000), "too_many_pixels"),
        "icc": (deep_profile(), "corrupt"),
        "webp": (
            b"RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\xff\x3f\xff\xff\x3f",
            "too_many_pixels",
        ),
    }
    async with make_pool(limits=Limits()) as pool:
        for name, (bomb, code) in bombs.items():
            started = time.monotonic()
            with pytest.raises(RejectedError) as rejected:
                await outputs_of(pool, bomb)
            assert time.monotonic() - started < 1, name
            assert rejected.value.code == code, name
            await _still_works(pool)


async def test_what_is_not_decoded_cannot_be_a_bomb() -> None:
    bombs = {"gif": gif_of_549_megapixels(), "text": giant_text_chunk(), "texts": many_text_chunks()}
    async with make_pool(limits=Limits()) as pool:
        for name, bomb in bombs.items():
            started = time.monotonic()
            await outputs_of(pool, bomb)
            assert time.monotonic() - started < 1, name


async def _still_works(pool: DecoderPool) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "an ordinary image")
    assert await outputs_of(pool, encoded(quadrants(), "PNG", pnginfo=text))
    assert pool.interpreter_starts == 1
