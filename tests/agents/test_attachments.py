"""Which Python values go along with a prompt, as what, and within which limits."""

from __future__ import annotations

import io
import os
import pathlib
import subprocess
import sys
import zlib

import pytest

from tframex_nb.agents.attachments import Limits, attachment_of, text_of_file
from tframex_nb.errors import InvalidInput
from tframex_nb.models.parts import measure, sniff
from tframex_nb.testing.images import png

LIMITS = Limits(image_max_bytes=50_000, image_max_side=300, file_max_bytes=20_000)


def of(value, name="it"):
    return attachment_of(value, name=name, limits=LIMITS)


def image(*size, mode="RGB", form="PNG", **options) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new(mode, size, "teal").save(out, form, **options)
    return out.getvalue()


def noise(side: int) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(side * side * 3)).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module", autouse=True)
def _fonts():
    """Let matplotlib open the fonts that it keeps open, before anything is counted."""
    from matplotlib.figure import Figure

    figure = Figure()
    figure.subplots().set_title("x")
    of(figure)


class Claims:
    """An object that says it has every attribute, as mocks and lazy columns do."""

    def __getattr__(self, name):
        return lambda *_, **__: b"\x89PNG\r\n\x1a\n"


class Shown:
    def __init__(self, png):
        self.png = png

    def _repr_png_(self):
        if isinstance(self.png, Exception):
            raise self.png
        return self.png


@pytest.mark.parametrize(
    "value",
    [
        "x.png",
        7,
        None,
        b"no magic",
        [png(3, 2)],
        {"type": "image_url"},
        Claims(),
        Shown(None),
        Shown("not base64!"),
        Shown(ValueError("no display")),
        Shown,
        pathlib.PurePosixPath("x.png"),
        pathlib.Path(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_values_stay_what_they_were(value, tmp_path, monkeypatch):
    """A text that happens to be a path, above all: only a Path makes a file be read."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.png").write_bytes(png(3, 2))
    assert of(value) is None


def test_figures_axes_and_axes_in_subfigures_are_drawn_as_their_figure():
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2, 1), dpi=100)
    axes = figure.subfigures(1, 2)[0].subplots()
    axes.plot([1, 2])
    for value in (figure, axes):
        found = of(value)
        assert (found.kind, found.width, found.height, found.name) == ("image", 200, 100, "it")
    assert of(figure).data == of(figure).data


def test_a_figure_that_cannot_be_drawn_is_a_clear_error():
    from matplotlib.figure import Figure

    figure = Figure()
    figure.text(0, 0, "$\\nosuchthing$")
    with pytest.raises(InvalidInput, match="it cannot be drawn: ValueError") as told:
        of(figure)
    assert "it.savefig" in told.value.hint


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "CMYK", "1", "F", "I;16"])
def test_an_image_of_pillow_in_any_mode_is_sent_as_png(mode):
    from PIL import Image

    found = of(Image.new(mode, (40, 30)))
    assert (found.media_type, found.width, found.height) == ("image/png", 40, 30)
    assert found.preview.startswith("data:image/jpeg;base64,")


def test_an_image_of_pillow_whose_file_is_broken_or_closed_is_a_clear_error():
    from PIL import Image

    broken = Image.open(io.BytesIO(image(90, 80)[:-40]))
    closed = Image.new("RGB", (9, 9))
    closed.close()
    for value in (broken, closed):
        with pytest.raises(InvalidInput, match="it cannot be encoded: ") as told:
            of(value)
        assert "open the image anew" in told.value.hint


def test_what_shows_itself_as_png_is_sent_as_that():
    assert of(Shown(png(3, 2))).data == png(3, 2)
    assert of(Shown((png(3, 2), {"width": 3}))).data == png(3, 2)


def test_an_ipython_image_is_its_bytes_and_an_address_is_refused():
    from IPython.display import Image

    assert of(Image(png(3, 2))).data == png(3, 2)
    with pytest.raises(InvalidInput, match="it is the address of an image"):
        of(Image(url="https://host/x.png"))


@pytest.mark.parametrize(
    ("name", "data", "kind", "line"),
    [
        ("x.png", png(3, 2), "image", "PNG 3x2, "),
        ("x.txt", image(9, 8, form="JPEG"), "image", "JPEG 9x8, "),
        ("x.pdf", b"%PDF-1.7 whole", "file", "PDF, 14 B"),
        ("x.wav", b"RIFF\0\0\0\0WAVEfmt ", "audio", "WAV, 16 B"),
        ("x.mp3", b"ID3\4\0", "audio", "MP3, 5 B"),
    ],
)
def test_a_path_is_told_by_what_the_file_holds(tmp_path, name, data, kind, line):
    (tmp_path / name).write_bytes(data)
    found = of(tmp_path / name)
    assert (found.kind, found.name, found.data) == (kind, name, data)
    assert found.line.startswith(line)


def test_a_text_file_is_text_and_a_binary_one_is_refused(tmp_path):
    path = tmp_path / "notes.md"
    path.write_bytes("\ufeffGrüße".encode())
    assert of(path) is None
    assert text_of_file(path, limits=LIMITS) == "Grüße"
    for data in (b"a\0b", b"\xff\xfe\xfd"):
        path.write_bytes(data)
        with pytest.raises(InvalidInput, match=r"notes\.md is no image, PDF, WAV, MP3 or UTF-8"):
            text_of_file(path, limits=LIMITS)


def test_files_that_cannot_be_read_are_told_by_name(tmp_path):
    with pytest.raises(InvalidInput, match=r"gone\.png does not exist") as told:
        of(tmp_path / "gone.png")
    assert str(pathlib.Path.cwd()) in told.value.hint
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidInput, match="pipe is no regular file"):
        of(tmp_path / "pipe")


@pytest.mark.parametrize("name", ["x.pdf", "x.md"])
def test_a_file_over_the_limit_is_refused_with_both_sizes(tmp_path, name):
    path = tmp_path / name
    path.write_bytes((b"%PDF-1.7" if name == "x.pdf" else b"#") + b" " * 30_000)
    read = of if name == "x.pdf" else lambda path: text_of_file(path, limits=LIMITS)
    with pytest.raises(InvalidInput, match=r"is 30 kB; files are sent up to 20 kB") as told:
        read(path)
    assert "file_max_bytes" in told.value.hint


def test_a_wide_image_is_scaled_down_and_says_so():
    found = of(image(900, 30))
    assert measure(found.data) == (300, 10) == (found.width, found.height)
    assert "scaled down from 900x30, " in found.line


def test_an_image_of_too_many_bytes_becomes_a_jpeg_that_fits():
    found = of(noise(280))
    assert sniff(found.data) == "image/jpeg"
    assert len(found.data) <= LIMITS.image_max_bytes


def test_a_transparent_image_stays_transparent_when_it_is_scaled():
    from PIL import Image

    found = of(image(900, 900, mode="RGBA"))
    assert Image.open(io.BytesIO(found.data)).mode == "RGBA"


@pytest.mark.parametrize("form", ["BMP", "TIFF"])
def test_formats_that_endpoints_do_not_take_become_png(form):
    found = of(image(30, 20, form=form))
    assert (found.media_type, found.width) == ("image/png", 30)


def test_a_phone_picture_is_turned_upright_when_it_is_scaled():
    from PIL import Image

    turned = Image.Exif()
    turned[0x0112] = 6
    found = of(image(900, 300, form="JPEG", exif=turned))
    assert (found.width, found.height) == (100, 300)


def test_a_broken_image_that_has_to_be_scaled_is_refused():
    broken = png(900, 900)[:60]
    with pytest.raises(InvalidInput, match="it cannot be read as an image"):
        of(broken)


def test_a_small_file_that_claims_a_billion_pixels_is_not_decoded():
    head = bytearray(png(900, 900))
    head[16:24] = (60_000).to_bytes(4, "big") * 2
    with pytest.raises(InvalidInput, match=r"60000x60000|cannot be read"):
        of(bytes(head))


def test_a_bomb_of_a_few_kilobytes_is_refused_before_it_is_decoded():
    """Decoded it would take a gigabyte, and the kernel with it."""
    bomb = bytearray(png(900, 900))
    bomb[16:24] = (13_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    with pytest.raises(InvalidInput, match="13000x13000 pixels, which is too many to decode"):
        of(bytes(bomb))


def test_a_large_photo_is_decoded_small():
    """Phones make pictures of 100 million pixels and more."""
    found = of(image(9_000, 8_000, form="JPEG"))
    assert found.was.startswith("9000x8000")
    assert max(found.width, found.height) == LIMITS.image_max_side


def test_without_pillow_what_fits_is_sent_and_what_does_not_names_the_sizes(tmp_path):
    """A real interpreter in which Pillow is not there."""
    (tmp_path / "wide.png").write_bytes(image(900, 30))
    code = (
        "import sys, importlib.abc\n"
        "class Without(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'PIL': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Without())\n"
        "from pathlib import Path\n"
        "from tframex_nb.agents.attachments import Limits, attachment_of\n"
        "limits = Limits(50_000, 300, 20_000)\n"
        "from tframex_nb.testing.images import png\n"
        "print(attachment_of(png(3, 2), name='it', limits=limits).line)\n"
        "try:\n"
        "    attachment_of(Path('wide.png'), limits=limits)\n"
        "except ValueError as exc:\n"
        "    print(exc)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "PNG 3x2" in done.stdout
    assert "wide.png is 900x30, " in done.stdout
    assert "at most 300 pixels a side and 50 kB" in done.stdout
    assert "%pip install pillow" in done.stdout
