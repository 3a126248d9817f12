import time

import pytest
from PIL import Image

from tests.support.pictures import noise, scene
from worker.imaging.visual_summary import blur_hash, difference_hash, dominant_colour, visual_summary


def distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


@pytest.mark.parametrize(("colour", "expected"), [("#ff0000", "#ff0000"), ("#123456", "#123456")])
def test_a_plain_picture_is_dominated_by_its_colour(colour: str, expected: str) -> None:
    assert visual_summary(Image.new("RGB", (300, 200), colour))["dominantColor"] == expected


def test_the_largest_group_of_colours_dominates() -> None:
    image = Image.new("RGB", (100, 100), "#204080")
    image.paste("#f0e020", (0, 0, 30, 100))
    assert dominant_colour(image.resize((16, 12), Image.Resampling.BOX)) == "#204080"


def test_what_is_transparent_counts_as_white() -> None:
    assert visual_summary(Image.new("RGBA", (50, 50)))["dominantColor"] == "#ffffff"


@pytest.mark.parametrize(("colour", "dc"), [("#000000", "0000"), ("#ffffff", "TSUA")])
def test_the_blur_hash_of_a_plain_picture_is_its_colour(colour: str, dc: str) -> None:
    found = blur_hash(Image.new("RGB", (16, 12), colour))
    assert (found[0], found[2:6]) == ("L", dc)
    assert len(found) == 28


def test_the_blur_hash_tells_where_it_is_light() -> None:
    left, right = Image.new("RGB", (16, 12)), Image.new("RGB", (16, 12))
    left.paste("white", (0, 0, 8, 12))
    right.paste("white", (8, 0, 16, 12))
    assert blur_hash(left)[2:6] == blur_hash(right)[2:6]
    assert blur_hash(left) != blur_hash(right)


def test_the_perceptual_hash_survives_scaling_and_encoding_and_tells_pictures_apart() -> None:
    one = noise(12, 9, seed=1).resize((600, 450), Image.Resampling.BICUBIC)
    other = noise(12, 9, seed=2).resize((600, 450), Image.Resampling.BICUBIC)
    assert distance(difference_hash(one), difference_hash(one.resize((211, 158)))) <= 4
    assert distance(difference_hash(one), difference_hash(other)) > 14


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (17, 3)])
def test_any_size_has_its_traits(size: tuple[int, int]) -> None:
    traits = visual_summary(scene(*size))
    assert [len(str(value)) for value in traits.values()] == [7, 28, 16]


def test_they_cost_little() -> None:
    image = scene(800, 600)
    visual_summary(image)
    took = []
    for _ in range(20):
        started = time.perf_counter()
        visual_summary(image)
        took.append(time.perf_counter() - started)
    assert min(took) < 0.003
