from hypothesis import given
from hypothesis import strategies as st

from worker.domain.recipe import Size
from worker.imaging.geometry import fitted
from worker.imaging.picture import Extent

sides = st.integers(min_value=1, max_value=60_000)
extents = st.builds(Extent, sides, sides)
boxes = st.builds(Size, st.just("box"), sides, sides)


@given(extents, boxes)
def test_the_result_lies_within_the_box_and_has_at_least_one_pixel(original: Extent, box: Size) -> None:
    result = fitted(original, box)
    assert 1 <= result.width <= box.width
    assert 1 <= result.height <= box.height


@given(extents, boxes)
def test_nothing_is_ever_enlarged(original: Extent, box: Size) -> None:
    result = fitted(original, box)
    assert result.width <= original.width
    assert result.height <= original.height


@given(extents, boxes)
def test_the_shape_is_kept_to_a_pixel(original: Extent, box: Size) -> None:
    result = fitted(original, box)
    scale = min(1, box.width / original.width, box.height / original.height)
    assert abs(original.width * scale - result.width) <= 1
    assert abs(original.height * scale - result.height) <= 1


@given(extents, boxes)
def test_the_box_is_filled_in_one_direction_unless_the_picture_is_smaller(
    original: Extent, box: Size
) -> None:
    result = fitted(original, box)
    assert result == original or result.width == box.width or result.height == box.height


def test_full_hd_fits_the_medium_box_as_the_document_shows() -> None:
    assert fitted(Extent(1920, 1080), Size("medium", 800, 600)) == (800, 450)
