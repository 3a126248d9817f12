"""
Make the demo's HEIC photograph as phones write it: `python docs/make_demo_heic.py`.

12 megapixels in tiles of 512 pixels, on their side, in Display P3, with a thumbnail, camera and place. The
file is bundled, because it needs the encoder of pillow-heif, which the container image does not have.
"""

import io
from typing import Final

import numpy as np
import pillow_heif
from PIL import Image, ImageCms

from worker.imaging import icc
from worker.local.demo_images import BUNDLED, HEIC_NAME, bundled_image, phone_exif

SIZE: Final = (3024, 4032)
TILE_PX, THUMBNAIL_PX, QUALITY, NOISE = 512, 320, 40, 1.5
PRIMARIES: Final = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), icc.D65)


def main() -> None:
    """Write the file into the folder of the bundled images."""
    pillow_heif.register_heif_opener()
    photograph = _cropped(bundled_image("sea")).resize(SIZE, Image.Resampling.BICUBIC)
    noise = (
        np.random.default_rng(1).normal(0, NOISE, (SIZE[1] // 2, SIZE[0] // 2, 1)).repeat(2, 0).repeat(2, 1)
    )
    noisy = Image.fromarray((np.asarray(photograph) + noise).clip(0, 255).astype(np.uint8))
    to_xyz = icc.rgb_to_xyz(*PRIMARIES)
    if to_xyz is None:
        raise ValueError(PRIMARIES)
    profile = icc.matrix_profile("Display P3", to_xyz, icc.SRGB_CURVE)
    converted = ImageCms.profileToProfile(noisy, ImageCms.createProfile("sRGB"), io.BytesIO(profile))
    if converted is None:
        raise ValueError(profile)
    converted.transpose(Image.Transpose.ROTATE_90).save(
        BUNDLED / HEIC_NAME,
        "HEIF",
        quality=QUALITY,
        tile_size=TILE_PX,
        thumbnails=[THUMBNAIL_PX],
        icc_profile=profile,
        exif=phone_exif().tobytes(),
    )


def _cropped(image: Image.Image) -> Image.Image:
    """Return the middle of a landscape in the shape of a portrait."""
    width = image.height * SIZE[0] // SIZE[1]
    left = (image.width - width) // 2
    return image.crop((left, 0, left + width, image.height))


if __name__ == "__main__":
    main()
