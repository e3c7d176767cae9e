"""A picture of a digit, drawn by anybody, becomes an image as the networks want it."""

import re

import numpy as np
import pytest

from .test_demos import Demo

pytestmark = [pytest.mark.capability("training")]


@pytest.fixture
def scan(stage):
    if stage.foreign:
        pytest.skip("not there: the ladder's own demos")
    pytest.importorskip("PIL")
    return stage.part("scan").scan


def seven(height=90, width=70, at=(20, 10)):
    """A 7, white on black, as a person may draw it: strokes of 8 pixels in a larger picture."""
    ink = np.zeros((height, width), np.uint8)
    y, x = at
    ink[y : y + 8, x : x + 40] = 255
    for i in range(48):
        ink[y + i, x + 32 - i // 2 : x + 40 - i // 2] = 255
    return ink


def saved(path, array, mode=None, **options):
    from PIL import Image

    Image.fromarray(array, mode).save(path, **options)
    return path


def test_a_digit_fills_20_pixels_around_the_centre_whatever_its_size_place_and_colours(scan, tmp_path):
    ink = seven()
    wanted = scan(saved(tmp_path / "white_on_black.png", ink)).numpy()
    assert wanted.shape == (1, 1, 28, 28) and wanted.dtype == np.float32
    assert wanted.min() == 0 and wanted.max() == 1
    rows, columns = (np.flatnonzero(wanted[0, 0].max(axis=axis)) for axis in (1, 0))
    assert rows[-1] - rows[0] + 1 == 20 and columns[-1] - columns[0] + 1 <= 20
    for axis in (0, 1):
        centre = (wanted[0, 0].sum(axis=axis) * np.arange(28)).sum() / wanted.sum()
        assert abs(centre - 13.5) <= 0.5
    transparent = np.zeros((*ink.shape, 4), np.uint8)
    transparent[..., 3] = ink
    pictures = [
        saved(tmp_path / "black_on_white.png", 255 - ink),
        saved(tmp_path / "elsewhere.png", seven(200, 300, at=(100, 200))),
        saved(tmp_path / "grey.png", 200 - ink // 4 * 3),
        saved(tmp_path / "colour.png", np.stack([255 - ink, 255 - ink // 2, np.full_like(ink, 255)], axis=-1)),
        saved(tmp_path / "transparent.png", transparent),
        saved(tmp_path / "large.png", ink.repeat(6, axis=0).repeat(6, axis=1)),
        saved(tmp_path / "photo.jpg", 255 - ink.repeat(4, axis=0).repeat(4, axis=1), quality=90),
    ]
    for path in pictures:
        np.testing.assert_allclose(scan(path).numpy(), wanted, atol=0.15, err_msg=path.name)


def test_what_is_no_picture_of_a_digit_is_named(scan, tmp_path):
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(ValueError, match="no picture that Pillow can read"):
        scan(tmp_path / "text.png")
    for grey in (0, 200, 255):
        with pytest.raises(ValueError, match="nothing is drawn on it"):
            scan(saved(tmp_path / "blank.png", np.full((30, 40), grey, np.uint8)))
    whole = saved(tmp_path / "whole.png", seven()).read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises((OSError, ValueError), match="truncated|no picture"):
        scan(tmp_path / "half.png")
    with pytest.raises(OSError, match="No such file"):
        scan(tmp_path / "none.png")


def test_a_dot_and_a_line_are_pictures_too(scan, tmp_path):
    for shape in ((1, 1), (60, 1), (1, 60)):
        ink = np.pad(np.full(shape, 255, np.uint8), 15)
        image = scan(saved(tmp_path / "line.png", ink)).numpy()
        assert image.shape == (1, 1, 28, 28) and np.isfinite(image).all() and image.max() == 1


@pytest.mark.capability("demos")
@pytest.mark.host
def test_a_trained_network_says_which_digit_it_sees_and_how_sure_it_is(stage, scan, tmp_path):
    images, labels = [x.numpy() for x in stage.part("datasets").digits("test")]
    demo, run = Demo(stage, tmp_path), tmp_path / "run.npz"
    demo.lines("mnist", "--data", "digits", "--epochs", 3, "--save", run)
    right = 0
    for i in range(3):
        ink = np.pad((images[i, 0] * 255).astype(np.uint8), ((5, 30), (30, 5))).repeat(3, axis=0).repeat(3, axis=1)
        picture = saved(tmp_path / f"{i}.png", 255 - ink if i % 2 else ink)
        (result,) = demo.lines("mnist", "--resume", run, "--image", picture)
        digit, sure = re.match(r"Result: it is a (\d), ([\d.]+)% sure$", result).groups()
        assert 10 <= float(sure) <= 100
        right += int(digit) == labels[i]
    assert right >= 2
    wanted = {
        ("--image", picture): "a trained network is asked: add --resume and the file of its --save",
        ("--image", "none.png", "--resume", run): "none.png: No such file or directory",
        ("--image", run, "--resume", run): "run.npz: it is no picture that Pillow can read",
    }
    for rule, err in zip(wanted.values(), demo.refusals("mnist", *wanted)):
        assert "error: argument --image: " in err and rule in err
