import time

import pytest
from PIL import Image

from tests.support.pictures import noise, quadrants
from worker.imaging.visual_summary import blur_hash, difference_hash, dominant_colour, visual_summary


def differing_bits(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


@pytest.mark.parametrize(("colour", "expected"), [("#ff0000", "#ff0000"), ("#123456", "#123456")])
def test_the_dominant_colour_of_a_plain_picture_is_its_colour(colour: str, expected: str) -> None:
    assert visual_summary(Image.new("RGB", (300, 200), colour))["dominantColor"] == expected


def test_the_dominant_colour_is_that_of_the_largest_cluster() -> None:
    image = Image.new("RGB", (100, 100), "#204080")
    image.paste("#f0e020", (0, 0, 30, 100))
    assert dominant_colour(image.resize((16, 12), Image.Resampling.BOX)) == "#204080"


def test_transparent_pixels_count_as_white() -> None:
    assert visual_summary(Image.new("RGBA", (50, 50)))["dominantColor"] == "#ffffff"


@pytest.mark.parametrize(("colour", "dc"), [("#000000", "0000"), ("#ffffff", "TSUA")])
def test_the_blur_hash_of_a_plain_picture_encodes_its_colour(colour: str, dc: str) -> None:
    found = blur_hash(Image.new("RGB", (16, 12), colour))
    assert (found[0], found[2:6]) == ("L", dc)
    assert len(found) == 28


def test_the_blur_hash_depends_on_where_the_picture_is_bright() -> None:
    left, right = Image.new("RGB", (16, 12)), Image.new("RGB", (16, 12))
    left.paste("white", (0, 0, 8, 12))
    right.paste("white", (8, 0, 16, 12))
    assert blur_hash(left)[2:6] == blur_hash(right)[2:6]
    assert blur_hash(left) != blur_hash(right)


def test_the_perceptual_hash_is_similar_after_scaling_and_differs_between_pictures() -> None:
    first = noise(12, 9, seed=1).resize((600, 450), Image.Resampling.BICUBIC)
    second = noise(12, 9, seed=2).resize((600, 450), Image.Resampling.BICUBIC)
    assert differing_bits(difference_hash(first), difference_hash(first.resize((211, 158)))) <= 4
    assert differing_bits(difference_hash(first), difference_hash(second)) > 14


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (17, 3)])
def test_a_picture_of_any_size_has_a_summary(size: tuple[int, int]) -> None:
    summary = visual_summary(quadrants(*size))
    assert [len(str(value)) for value in summary.values()] == [7, 28, 16]


def test_the_summary_takes_less_than_three_milliseconds() -> None:
    image = quadrants(800, 600)
    visual_summary(image)
    durations_s = []
    for _ in range(20):
        started = time.perf_counter()
        visual_summary(image)
        durations_s.append(time.perf_counter() - started)
    assert min(durations_s) < 0.003
