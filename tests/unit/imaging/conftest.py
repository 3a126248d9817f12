import pytest

from tests.support.resampling import RESAMPLING, Resized
from worker.domain.focus import Focus
from worker.domain.recipe import Limits, Size
from worker.imaging.picture import Picture
from worker.imaging.resampling import Resample
from worker.imaging.resize import resize
from worker.imaging.validate import validate


@pytest.fixture(scope="package", params=RESAMPLING)
def resample(request: pytest.FixtureRequest) -> Resample:
    """Each function that scales pictures."""
    return RESAMPLING[request.param]


@pytest.fixture(scope="package")
def resized(resample: Resample) -> Resized:
    def decode_and_resize(content: bytes, *sizes: Size, focus: Focus | None = None) -> tuple[Picture, ...]:
        decoded, _ = validate(content, limits=Limits(), sizes=sizes)
        return resize(decoded, sizes=sizes, focus=focus, resample=resample)[0]

    return decode_and_resize
