"""Frames of APNGs are composed as the specification and browsers do, in a bounded time and memory."""

import io
import struct
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support.apngs import Colour, Frame, apng
from tests.support.extras import MANIFEST
from tests.support.pictures import encoded, noise
from tests.support.pngs import png_of
from worker.domain.errors import RejectedError, TooManyFramesError
from worker.domain.recipe import Animation, Limits, Size
from worker.imaging.apng import ApngFile
from worker.imaging.picture import DecodedUpload
from worker.imaging.validate import validate

CLEAR, RED, GREEN, BLUE = (0, 0, 0, 0), (255, 0, 0, 255), (0, 255, 0, 255), (0, 0, 255, 255)
LEFT, RIGHT = (0, 0, 4, 6), (4, 0, 8, 6)


def decoded(content: bytes, animation: Animation = Animation.KEEP, **limits: int) -> DecodedUpload:
    return validate(
        content,
        limits=Limits(**limits),
        sizes=(Size("m", 8, 6),),
        animation=animation,
    )[0]


def pixels_of(content: bytes) -> list[tuple[Colour, Colour]]:
    """Return the left and the right pixel of each frame."""
    image = ApngFile(io.BytesIO(content))
    found = []
    for number in range(len(image._frames)):
        image.seek(number)
        image.load()
        rgba = image.convert("RGBA")
        found.append((rgba.getpixel((1, 1)), rgba.getpixel((6, 4))))
    return found  # type: ignore[return-value] # pixels of RGBA are tuples


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (Frame(RED), Frame(BLUE, RIGHT), (RED, BLUE)),
        (Frame(RED, disposal=1), Frame(BLUE, RIGHT), (CLEAR, BLUE)),
        (Frame(RED, disposal=2), Frame(BLUE, RIGHT), (CLEAR, BLUE)),
        (Frame(RED), Frame(CLEAR, RIGHT), (RED, CLEAR)),
        (Frame(RED), Frame(CLEAR, RIGHT, blend=1), (RED, RED)),
        (Frame(RED), Frame((0, 0, 255, 128), RIGHT, blend=1), (RED, (127, 0, 128, 255))),
        (
            Frame((0, 0, 255, 128)),
            Frame((0, 0, 255, 128), RIGHT, blend=1),
            ((0, 0, 255, 128), (0, 0, 255, 192)),
        ),
    ],
    ids=["kept", "cleared", "first restored", "replaced", "over", "half over", "half over half"],
)
def test_the_second_frame_is_drawn_on_what_the_first_leaves(
    first: Frame, second: Frame, expected: tuple[Colour, Colour]
) -> None:
    found = pixels_of(apng(first, second))[1]
    assert all(
        abs(a - b) <= 1 for pair in zip(found, expected, strict=True) for a, b in zip(*pair, strict=True)
    )


def test_a_frame_that_is_restored_leaves_what_was_below_it() -> None:
    content = apng(Frame(RED), Frame(BLUE, RIGHT, disposal=2), Frame(GREEN, LEFT))
    assert pixels_of(content) == [(RED, RED), (RED, BLUE), (GREEN, RED)]


def test_a_background_is_transparent_in_opaque_pngs_too() -> None:
    content = apng(Frame((255, 0, 0), disposal=1), Frame((0, 0, 255), RIGHT), kind=2)
    assert pixels_of(content) == [(RED, RED), (CLEAR, BLUE)]


def test_frames_can_be_selected_in_any_order() -> None:
    image = ApngFile(io.BytesIO(apng(Frame(RED), Frame(BLUE, RIGHT, disposal=1), Frame(GREEN, LEFT))))
    found = []
    for number in (2, 0, 1, 2):
        image.seek(number)
        image.load()
        found.append(image.convert("RGBA").getpixel((6, 4)))
    assert found == [CLEAR, RED, BLUE, CLEAR]
    with pytest.raises(EOFError):
        image.seek(3)


def test_a_default_image_that_is_no_frame_is_left_out() -> None:
    content = apng(Frame(RED), Frame(BLUE), default=GREEN)
    assert pixels_of(content) == [(RED, RED), (BLUE, BLUE)]
    still = decoded(content, Animation.FIRST)
    assert still.image.convert("RGBA").getpixel((1, 1)) == GREEN


def test_the_durations_add_up_to_that_of_the_animation() -> None:
    content = apng(*[Frame(RED, delay=(1, 60))] * 60, Frame(RED, delay=(5, 0)))
    image = ApngFile(io.BytesIO(content))
    durations = []
    for number in range(61):
        image.seek(number)
        image.load()
        durations.append(image.info["duration"])
    assert (sum(durations[:60]), set(durations[:60]), durations[60]) == (1000, {16, 17}, 50)


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "L", "P", "1"])
def test_frames_of_every_mode_are_decoded_as_by_pillow(kind: str) -> None:
    frames = [noise(16, 12, seed=seed).convert(kind) for seed in range(3)]
    content = encoded(frames[0], "PNG", save_all=True, append_images=frames[1:], duration=50)
    image, pillow = ApngFile(io.BytesIO(content)), Image.open(io.BytesIO(content))
    for number in range(3):
        image.seek(number)
        image.load()
        pillow.seek(number)
        assert image.convert("RGBA").tobytes() == pillow.convert("RGBA").tobytes()


def test_the_colours_and_the_metadata_of_the_file_are_those_of_its_frames() -> None:
    exif = Image.Exif()
    exif[0x013B] = "Jane"
    content = apng(Frame(RED), Frame(BLUE), chunks=[(b"gAMA", struct.pack(">I", 100_000))])
    content = content[:-12] + png_of((b"eXIf", exif.tobytes()[6:]), (b"IEND", b""))[8:]
    upload = decoded(content)
    assert (upload.frames, b"Jane" in upload.credits, upload.profile is not None) == (2, True, True)


def test_too_many_frames_are_rejected_and_a_single_one_is_a_still_image() -> None:
    with pytest.raises(TooManyFramesError):
        decoded(apng(*[Frame(RED)] * 6), max_frames=5)
    with pytest.raises(TooManyFramesError):
        decoded(apng(Frame(RED), Frame(BLUE), announced=2**31))
    with pytest.raises(TooManyFramesError):
        decoded(apng(*[Frame(RED)] * 6), max_pixels=8 * 6 * 5)
    assert decoded(apng(Frame(RED))).frames == 1
    assert decoded(apng(*[Frame(RED)] * 6, announced=2)).frames == 2


@pytest.mark.parametrize(
    "content",
    [
        apng(Frame(RED), Frame(BLUE), announced=3),
        apng(Frame(RED), Frame(BLUE, (4, 0, 9, 6))),
        apng(Frame(RED), Frame(BLUE, (0, 0, 0, 0))),
        apng(Frame(RED), Frame(BLUE)).replace(b"fdAT", b"fdAt"),
        apng(Frame(RED), Frame(BLUE, RIGHT))[:-40] + apng(Frame(RED), Frame(BLUE, RIGHT))[-12:],
    ],
    ids=["a frame is missing", "beyond the canvas", "empty", "another chunk", "cut"],
)
def test_an_animation_with_a_wrong_frame_is_rejected(content: bytes) -> None:
    with pytest.raises(RejectedError) as rejected:
        decoded(content)
    assert rejected.value.code in {"corrupt", "truncated"}


@given(st.integers(8, 400), st.integers(0, 255))
def test_a_damaged_animation_is_rejected_or_decoded(at: int, value: int) -> None:
    content = bytearray(apng(Frame(RED), Frame(BLUE, RIGHT, disposal=2), Frame(GREEN, LEFT, blend=1)))
    content[at % len(content)] = value
    try:
        assert decoded(bytes(content)).frames in {1, 2, 3}
    except RejectedError as error:
        allowed = {"corrupt", "truncated", "too_many_frames", "too_many_pixels", "not_an_image"}
        if error.code not in allowed:
            raise


def test_a_header_of_absurd_size_is_rejected_before_anything_is_decoded() -> None:
    content = apng(Frame(RED), Frame(BLUE), size=(2**31 - 1, 2**31 - 1))
    with pytest.raises(RejectedError) as rejected:
        decoded(content)
    assert rejected.value.code in {"too_many_pixels", "corrupt"}


def test_an_animation_of_many_chunks_takes_time_in_proportion() -> None:
    chunks = [(b"tEXt", b"a\0b")] * 50_000 + [(b"caBX", MANIFEST)]
    content = apng(*[Frame(RED)] * 400, chunks=chunks)
    start = time.process_time()
    assert decoded(content).frames == 400
    assert time.process_time() - start < 5
