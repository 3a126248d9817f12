import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.recipe import Anchor, Fit, Size
from worker.imaging.geometry import fit_inside, layout, offset, window_around, window_at
from worker.imaging.orientation import point_as_stored
from worker.imaging.picture import Extent

sides = st.integers(min_value=1, max_value=60_000)
extents = st.builds(Extent, sides, sides)
boxes = st.builds(Size, st.just("box"), sides, sides)
any_fit = st.builds(Size, st.just("box"), sides, sides, fit=st.sampled_from(Fit), enlarge=st.booleans())


@given(extents, any_fit)
def test_every_layout_is_within_its_box_and_has_at_least_one_pixel(original: Extent, size: Size) -> None:
    plan = layout(original, size)
    for extent in (plan.visible, plan.canvas):
        assert 1 <= extent.width <= size.width
        assert 1 <= extent.height <= size.height


@given(extents, any_fit)
def test_nothing_is_enlarged_unless_the_size_allows_it(original: Extent, size: Size) -> None:
    shown = layout(original, size).visible
    assert size.enlarge or (shown.width <= original.width and shown.height <= original.height)


@given(extents, any_fit.filter(lambda size: size.fit in {Fit.INSIDE, Fit.CONTAIN}))
def test_an_uncropped_picture_keeps_its_aspect_ratio_to_a_pixel(original: Extent, size: Size) -> None:
    shown = layout(original, size).visible
    scale = min(size.width / original.width, size.height / original.height)
    scale = scale if size.enlarge else min(1, scale)
    assert abs(original.width * scale - shown.width) <= 1
    assert abs(original.height * scale - shown.height) <= 1


@given(extents, any_fit.filter(lambda size: size.fit is Fit.COVER))
def test_cover_keeps_the_aspect_ratio_of_the_visible_part(original: Extent, size: Size) -> None:
    plan = layout(original, size)
    scale = max(size.width / original.width, size.height / original.height)
    scale = scale if size.enlarge else min(1, scale)
    assert abs(original.width * plan.visible_share[0] * scale - plan.visible.width) <= 1
    assert abs(original.height * plan.visible_share[1] * scale - plan.visible.height) <= 1


@given(extents, boxes)
def test_a_picture_fills_the_box_in_a_direction_unless_it_is_smaller(original: Extent, box: Size) -> None:
    result = fit_inside(original, box)
    assert result == original or result.width == box.width or result.height == box.height


shares = st.floats(min_value=0, max_value=1)


@given(sides, shares.filter(bool), shares)
def test_a_window_is_inside_its_side_and_as_long_as_its_share(side: int, share: float, at: float) -> None:
    for window in (window_at, window_around):
        start, end = window(side, share, at)
        assert 0 <= start <= end <= side
        assert end - start == pytest.approx(side * share, abs=side * 1e-12)


@given(sides, shares.filter(bool), shares)
def test_a_window_around_a_point_contains_it_in_the_middle_or_ends_at_an_edge(
    side: int, share: float, at: float
) -> None:
    start, end = window_around(side, share, at)
    middle, point = (start + end) / 2, side * at
    assert start - 1e-6 <= point <= end + 1e-6
    assert (
        middle == pytest.approx(point)
        or (middle > point and start == 0)
        or (middle < point and end == pytest.approx(side))
    )


def test_full_hd_becomes_800_by_450_in_the_medium_box() -> None:
    assert fit_inside(Extent(1920, 1080), Size("medium", 800, 600)) == (800, 450)


@pytest.mark.parametrize(
    ("original", "fit", "enlarge", "shown", "canvas"),
    [
        ((1600, 900), Fit.INSIDE, False, (400, 225), (400, 225)),
        ((1600, 900), Fit.COVER, False, (400, 300), (400, 300)),
        ((1600, 900), Fit.CONTAIN, False, (400, 225), (400, 300)),
        ((1600, 900), Fit.FILL, False, (400, 300), (400, 300)),
        ((200, 100), Fit.INSIDE, False, (200, 100), (200, 100)),
        ((200, 100), Fit.COVER, False, (200, 100), (200, 100)),
        ((200, 100), Fit.CONTAIN, False, (200, 100), (400, 300)),
        ((200, 100), Fit.FILL, False, (200, 100), (200, 100)),
        ((200, 100), Fit.INSIDE, True, (400, 200), (400, 200)),
        ((200, 100), Fit.COVER, True, (400, 300), (400, 300)),
        ((200, 100), Fit.CONTAIN, True, (400, 200), (400, 300)),
        ((200, 100), Fit.FILL, True, (400, 300), (400, 300)),
        ((1000, 200), Fit.COVER, False, (400, 200), (400, 200)),
    ],
)
def test_the_layout_of_each_fit_in_a_box_of_400_by_300(
    original: tuple[int, int],
    fit: Fit,
    enlarge: bool,
    shown: tuple[int, int],
    canvas: tuple[int, int],
) -> None:
    plan = layout(Extent(*original), Size("box", 400, 300, fit=fit, enlarge=enlarge))
    assert (plan.visible, plan.canvas) == (shown, canvas)


@pytest.mark.parametrize(
    ("anchor", "expected"),
    [
        (Anchor.TOP_LEFT, (0, 0)),
        (Anchor.TOP, (40, 0)),
        (Anchor.TOP_RIGHT, (80, 0)),
        (Anchor.LEFT, (0, 20)),
        (Anchor.CENTER, (40, 20)),
        (Anchor.RIGHT, (80, 20)),
        (Anchor.BOTTOM_LEFT, (0, 40)),
        (Anchor.BOTTOM, (40, 40)),
        (Anchor.BOTTOM_RIGHT, (80, 40)),
    ],
)
def test_each_anchor_has_its_offset(anchor: Anchor, expected: tuple[int, int]) -> None:
    assert offset(Extent(100, 50), Extent(20, 10), anchor.point) == expected


@given(st.sampled_from(range(1, 9)), st.floats(0, 1), st.floats(0, 1))
def test_a_point_in_the_stored_picture_is_within_it(orientation: int, across: float, down: float) -> None:
    assert all(0 <= share <= 1 for share in point_as_stored((across, down), orientation))
