"""Smart gravity: a crop keeps the part of an image that draws the eye."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageDraw, ImageFilter

from tests.support.pictures import animation, encoded, noise, stored_as
from worker.domain.focus import Focus
from worker.domain.recipe import Animation, Fit, Gravity, Limits, Size
from worker.imaging.attention import attention, focus_of_attention
from worker.imaging.picture import Picture
from worker.imaging.resize import resize
from worker.imaging.validate import validate

SKIN, MEADOW, SKY = (205, 150, 120), (60, 120, 50), (120, 170, 230)
SQUARE = Size("square", 100, 100, fit=Fit.COVER, gravity=Gravity.SMART)


def landscape(width: int, height: int) -> Image.Image:
    """Return a meadow of many small edges below a sky."""
    image = Image.new("RGB", (width, height), SKY)
    grain = noise(width // 4, height // 8, seed=5).resize((width, height // 2)).convert("L")
    meadow = Image.merge("RGB", [grain.point(lambda level, at=at: at * level // 255) for at in MEADOW])
    image.paste(meadow, (0, height - height // 2))
    return image


def with_face(image: Image.Image, at: tuple[float, float], side: int) -> Image.Image:
    """Return the image with a face of this height: hair, eyes and a mouth in an oval of skin."""
    image = image.copy()
    draw = ImageDraw.Draw(image)
    x, y = image.width * at[0], image.height * at[1]

    def oval(left: float, top: float, right: float, bottom: float, colour: tuple[int, int, int]) -> None:
        box = (x + left * side / 2, y + top * side / 2, x + right * side / 2, y + bottom * side / 2)
        draw.ellipse(box, fill=colour)

    oval(-0.85, -1.1, 0.85, 0.6, (50, 35, 25))
    oval(-0.7, -0.8, 0.7, 1, SKIN)
    for eye in (-0.3, 0.3):
        oval(eye - 0.12, -0.3, eye + 0.12, -0.15, (30, 25, 25))
    oval(-0.3, 0.45, 0.3, 0.6, (150, 60, 60))
    return image.filter(ImageFilter.GaussianBlur(side / 60))


def focus_of(image: Image.Image, share: tuple[float, float]) -> Focus:
    return focus_of_attention(attention(image), share)


def is_kept(
    focus: Focus, share: tuple[float, float], at: tuple[float, float], half: tuple[float, float]
) -> bool:
    """Return whether a window contains the rectangle around a point."""
    return all(
        focus[axis] - share[axis] / 2 <= at[axis] - half[axis]
        and at[axis] + half[axis] <= focus[axis] + share[axis] / 2
        for axis in (0, 1)
    )


@pytest.mark.parametrize("at", [0.12, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("height", [0.2, 0.35])
def test_a_face_in_a_landscape_is_kept(at: float, height: float) -> None:
    image = with_face(landscape(960, 540), (at, 0.45), round(540 * height))
    share = (540 / 960 * 0.5, 1.0)
    assert is_kept(focus_of(image, share), share, (at, 0.45), (0.35 * height * 540 / 960, 0.4 * height))


@pytest.mark.parametrize("at", [0.2, 0.4, 0.75])
def test_the_face_of_a_standing_person_is_kept_rather_than_hands_and_clothes(at: float) -> None:
    image = Image.new("RGB", (600, 1200), (110, 110, 105))
    draw = ImageDraw.Draw(image)
    draw.rectangle((180, round(1200 * at) + 90, 420, 1200), fill=(30, 30, 60))
    draw.ellipse((200, 1100, 260, 1150), fill=SKIN)
    image = with_face(image, (0.5, at), 180)
    share = (1.0, 0.4)
    assert is_kept(focus_of(image, share), share, (0.5, at), (0, 0.07))


def test_skin_that_is_everywhere_is_not_a_face() -> None:
    beach = Image.blend(noise(96, 54, seed=2).resize((960, 540)), Image.new("RGB", (960, 540), SKIN), 0.9)
    draw = ImageDraw.Draw(beach)
    draw.rectangle((780, 200, 860, 330), fill=(20, 40, 160))
    assert is_kept(focus_of(beach, (0.4, 1.0)), (0.4, 1.0), (0.85, 0.5), (0.04, 0.12))


@pytest.mark.parametrize("colour", [(200, 30, 30), (20, 20, 20), (250, 250, 250)])
@pytest.mark.parametrize("at", [(0.1, 0.5), (0.6, 0.5), (0.95, 0.5)])
def test_an_object_on_a_plain_ground_is_kept(at: tuple[float, float], colour: tuple[int, int, int]) -> None:
    image = Image.new("RGB", (900, 300), (128, 138, 128))
    ImageDraw.Draw(image).ellipse((900 * at[0] - 40, 110, 900 * at[0] + 40, 190), fill=colour)
    assert is_kept(focus_of(image, (1 / 3, 1.0)), (1 / 3, 1.0), at, (0.035, 0.1))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_an_image_of_one_colour_is_cropped_in_the_middle(mode: str) -> None:
    image = Image.new(mode, (400, 300), 90 if mode == "L" else (90,) * len(mode))
    assert focus_of(image, (0.5, 1.0)) == (0.5, 0.5)


def test_transparent_pixels_draw_no_attention() -> None:
    image = with_face(Image.new("RGB", (900, 300), (128, 138, 128)), (0.15, 0.5), 150)
    alpha = Image.new("L", (900, 300))
    ImageDraw.Draw(alpha).rectangle((450, 0, 900, 300), fill=255)
    ImageDraw.Draw(image).rectangle((600, 100, 660, 160), fill=(200, 40, 40))
    image.putalpha(alpha)
    assert focus_of(image, (0.4, 1.0)).x > 0.5


def resized(
    content: bytes, *sizes: Size, focus: Focus | None = None, **options: object
) -> tuple[Picture, ...]:
    decoded, _ = validate(content, limits=Limits(), sizes=sizes, **options)  # type: ignore[arg-type]  # an animation
    return resize(decoded, sizes=sizes, focus=focus)[0]


def red_share(image: Image.Image) -> float:
    pixels = np.asarray(image.convert("RGB"), np.int16)
    return float(((pixels[..., 0] > 150) & (pixels[..., 1] < 90)).mean())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_crop_is_the_same_in_every_orientation(orientation: int) -> None:
    upright = Image.new("RGB", (900, 300), (128, 138, 128))
    ImageDraw.Draw(upright).ellipse((90, 110, 170, 190), fill=(200, 30, 30))
    (picture,) = resized(stored_as(orientation, upright=upright), SQUARE)
    assert picture.image.size == (100, 100)
    assert red_share(picture.image) == pytest.approx(3.14 * 40**2 / 300**2, rel=0.15)


def test_a_focal_point_precedes_what_draws_the_eye() -> None:
    image = Image.new("RGB", (900, 300), (128, 138, 128))
    ImageDraw.Draw(image).ellipse((90, 110, 170, 190), fill=(200, 30, 30))
    content = encoded(image, "PNG")
    (smart,), (focused,) = resized(content, SQUARE), resized(content, SQUARE, focus=Focus(0.9, 0.5))
    assert red_share(smart.image) > 0.04
    assert red_share(focused.image) == 0


def test_a_size_is_cropped_alike_whatever_other_sizes_are_made() -> None:
    content = encoded(with_face(landscape(1600, 900), (0.8, 0.5), 200), "JPEG")
    (alone,) = resized(content, SQUARE)
    _, together = resized(content, Size("large", 1600, 900), SQUARE)
    assert np.abs(np.asarray(alone.image, np.int16) - np.asarray(together.image, np.int16)).mean() < 3


def test_all_frames_of_an_animation_are_cropped_alike() -> None:
    content = animation("GIF", frames=3)
    (picture,) = resized(content, SQUARE, animation=Animation.KEEP)
    assert {image.size for image in picture.images} == {picture.image.size}


def test_contain_centres_the_image() -> None:
    size = Size("box", 100, 100, fit=Fit.CONTAIN, gravity=Gravity.SMART)
    (picture,) = resized(encoded(Image.new("RGB", (80, 40), "red"), "PNG"), size)
    assert picture.image.getpixel((50, 50)) == (255, 0, 0)
    assert picture.image.getpixel((50, 20)) == (255, 255, 255)


sides = st.integers(1, 700)
shares = st.floats(0.01, 1)


@given(sides, sides, st.sampled_from(["L", "RGB", "RGBA"]), st.integers(1, 8))
def test_the_map_is_bounded_and_has_the_shape_of_the_picture(
    width: int, height: int, mode: str, orientation: int
) -> None:
    found = attention(noise(width, height, mode=mode), orientation)
    if orientation >= 5:
        width, height = height, width
    assert min(found.shape) >= 1
    assert max(found.shape) <= 64
    assert (found.shape[1] >= found.shape[0]) or height >= width
    assert np.isfinite(found).all()
    assert found.min() >= 0


maps = arrays.arrays(
    np.float32, arrays.array_shapes(min_dims=2, max_dims=2, max_side=64), elements=st.floats(0, 100, width=32)
)


@given(maps, shares, shares)
def test_a_window_is_within_the_picture_and_the_same_each_time(
    found: np.ndarray, across: float, down: float
) -> None:
    focus = focus_of_attention(found, (across, down))
    for at, share in zip(focus, (across, down), strict=True):
        assert share / 2 - 1e-9 <= at <= 1 - share / 2 + 1e-9
    assert focus_of_attention(found.copy(), (across, down)) == focus


@given(st.integers(8, 64), st.floats(0.05, 0.9), st.integers(0, 63))
def test_a_window_contains_the_only_part_that_draws_the_eye(parts: int, share: float, at: int) -> None:
    found = np.zeros((1, parts), np.float32)
    at %= parts
    found[0, at] = 1
    x = focus_of_attention(found, (share, 1)).x
    step = (1 - share) / 64
    assert x - share / 2 - step <= (at + 0.5) / parts <= x + share / 2 + step


def test_finding_the_part_takes_a_bounded_time_at_any_size() -> None:
    image = with_face(landscape(4000, 3000), (0.7, 0.4), 600)
    taken_ms = []
    for _ in range(15):
        start = time.process_time()
        focus_of(image, (0.5, 1.0))
        taken_ms.append((time.process_time() - start) * 1000)
    assert min(taken_ms) < 10  # 1.2 ms on an idle CPU
