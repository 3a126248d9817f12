import pytest

from tests.support.pictures import animation, encoded, quadrants
from worker.imaging.headers import count_frames, is_truncated, webp_canvas


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "TIFF", "PNG"])
@pytest.mark.parametrize("frames", [1, 2, 7])
def test_every_frame_is_counted(image_format: str, frames: int) -> None:
    content = bytearray(animation(image_format, frames=frames))
    assert count_frames(content, image_format=image_format.lower(), stop_after=100) == frames


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "TIFF", "PNG"])
def test_counting_stops_one_above_the_limit(image_format: str) -> None:
    content = animation(image_format, frames=9)
    assert count_frames(content, image_format=image_format.lower(), stop_after=4) == 5


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "TIFF", "PNG"])
def test_counting_frames_of_a_truncated_file_does_not_fail(image_format: str) -> None:
    content = animation(image_format, frames=3)
    for length in range(0, len(content), 97):
        counted = count_frames(content[:length], image_format=image_format.lower(), stop_after=100)
        assert 1 <= counted <= 3


def test_a_tiff_with_a_cycle_of_directories_is_counted_once() -> None:
    cyclic = b"II*\0\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0"
    assert count_frames(cyclic, image_format="tiff", stop_after=100) == 1


@pytest.mark.parametrize(
    "options", [{}, {"lossless": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}]
)
def test_the_canvas_of_a_webp_is_read_from_its_header(options: dict[str, object]) -> None:
    assert webp_canvas(encoded(quadrants(321, 123), "WEBP", **options)) == (321, 123)


def test_an_invalid_webp_header_has_no_canvas() -> None:
    assert webp_canvas(b"RIFF\x04\0\0\0WEBP") is None


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF"])
def test_half_of_a_file_is_truncated_and_the_whole_file_is_not(image_format: str) -> None:
    content = encoded(quadrants(), image_format)
    assert not is_truncated(content, image_format=image_format.lower())
    assert is_truncated(content[: len(content) // 2], image_format=image_format.lower())
