"""The README's picture: drawings fit into white squares, whatever their shape and their transparency."""

from io import BytesIO

import pytest
from PIL import Image

from scripts.drawings import Drawing
from scripts.results_picture import tile


@pytest.mark.parametrize(("size", "inside", "outside"), [((40, 20), (5, 5), (5, 1)), ((20, 40), (5, 5), (1, 5))])
def test_a_drawing_fits_into_a_white_square(
    size: tuple[int, int], inside: tuple[int, int], outside: tuple[int, int]
) -> None:
    file = BytesIO()
    Image.new("RGBA", size, (255, 0, 0, 255)).save(file, "PNG")
    square = tile(Drawing("a", "a", file.getvalue(), unseen=False), 10)
    assert square.size == (10, 10)
    assert square.getpixel(inside) == (255, 0, 0)
    assert square.getpixel(outside) == (255, 255, 255)


def test_what_is_transparent_is_white() -> None:
    file = BytesIO()
    Image.new("RGBA", (10, 10), (255, 0, 0, 0)).save(file, "PNG")
    assert tile(Drawing("a", "a", file.getvalue(), unseen=False), 10).getpixel((5, 5)) == (255, 255, 255)
