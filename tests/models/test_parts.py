"""Images, sound and files as data: told by their bytes, measured, counted, never read as text."""

from __future__ import annotations

import io
import wave

import pytest

from tframex_nb.messages import Message
from tframex_nb.models._estimates import prompt_tokens
from tframex_nb.models.cassette.asking import Asked, Place
from tframex_nb.models.parts import Attachment, bytes_of, describe_part, measure, size_of, sniff
from tframex_nb.testing.images import png

PLACE = Place("http://one/v1", "m")


def drawn(form: str, **options) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (321, 45), "teal").save(out, form, **options)
    return out.getvalue()


def sound() -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes(bytes(16_000))
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (lambda: drawn("PNG"), "image/png"),
        (lambda: drawn("JPEG"), "image/jpeg"),
        (lambda: drawn("JPEG", progressive=True, exif=b"Exif\0\0" + bytes(3_000)), "image/jpeg"),
        (lambda: drawn("GIF"), "image/gif"),
        (lambda: drawn("WEBP"), "image/webp"),
        (lambda: drawn("WEBP", lossless=True), "image/webp"),
        (lambda: drawn("BMP"), "image/bmp"),
    ],
    ids=["png", "jpeg", "jpeg-progressive", "gif", "webp", "webp-lossless", "bmp"],
)
def test_formats_are_told_and_measured_without_pillow(data, kind):
    assert (sniff(data()), measure(data())) == (kind, (321, 45))


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"%PDF-1.7 x", "application/pdf"),
        (sound(), "audio/wav"),
        (b"ID3\4", "audio/mp3"),
        (b"\xff\xfb\x90\x00", "audio/mp3"),
        (b"\xff\xfe\x41\x00", ""),  # UTF-16 text
        (b"RIFF\0\0\0\0AVI ", ""),
        (b"hello", ""),
        (b"", ""),
        (b"BM", "image/bmp"),
    ],
)
def test_other_bytes_are_told_by_their_first_ones(data, kind):
    assert sniff(data) == kind


@pytest.mark.parametrize("cut", [0, 1, 9, 20, 30])
def test_a_cut_header_has_no_size_and_raises_nothing(cut):
    for form in ("PNG", "JPEG", "GIF", "WEBP", "BMP"):
        assert measure(drawn(form)[:cut]) in {(0, 0), (321, 45)}


def test_parts_have_openais_shape_and_a_line_for_people():
    image = Attachment("image", "image/png", png(3, 2), "dots", 3, 2)
    assert image.to_part()["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert describe_part(image.to_part()) == f"image: PNG 3x2, {len(png(3, 2))} B"
    pdf = Attachment("file", "application/pdf", b"%PDF-1.7", "a\nb.pdf")
    assert pdf.to_part()["file"]["filename"] == "a b.pdf"
    assert describe_part(pdf.to_part()) == "file: a b.pdf, PDF, 8 B"
    heard = Attachment("audio", "audio/wav", sound(), "hum").to_part()
    assert heard["input_audio"]["format"] == "wav"
    assert describe_part(heard) == "audio: WAV, 16 kB"
    assert bytes_of(heard) == len(sound())


@pytest.mark.parametrize(
    "part",
    [
        {},
        {"type": "image_url"},
        {"type": "image_url", "image_url": "https://host/x.png"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,%%%"}},
        {"type": "input_audio", "input_audio": {"data": 7}},
        {"type": 3, "file": []},
    ],
    ids=str,
)
def test_a_part_of_another_shape_is_described_without_an_error(part):
    assert isinstance(describe_part(part), str)


def test_an_estimate_counts_an_image_as_an_image_and_not_as_its_base64():
    part = Attachment("image", "image/png", png(900, 900) + bytes(3_000_000), "big").to_part()
    about, most = prompt_tokens([Message("user", [{"type": "text", "text": "hi"}, part])], {})
    assert about < 200
    assert most < 7_000


def test_a_long_sound_and_a_large_file_may_be_many_tokens_and_fewer_than_their_bytes():
    for kind, media in (("audio", "audio/wav"), ("file", "application/pdf")):
        part = Attachment(kind, media, bytes(4_000_000), "x").to_part()
        about, most = prompt_tokens([Message("user", [part])], {})
        assert about < 200
        assert 6_000 < most <= 2_100_000


@pytest.mark.parametrize("kind", ["image", "audio", "file"])
def test_a_recording_holds_a_digest_in_place_of_the_data_and_tells_two_apart(kind):
    media = {"image": "image/png", "audio": "audio/wav", "file": "application/pdf"}[kind]
    one, other = (
        Asked.of(PLACE, [Message("user", [Attachment(kind, media, data, "x").to_part()])], {})
        for data in (bytes(9_000), bytes(8_999) + b"x")
    )
    assert "sha256," in str(one.messages)
    assert "(12000 characters)" in str(one.messages)
    assert len(str(one.messages)) < 250
    assert one.key != other.key
    assert one.key == Asked.of(PLACE, one.messages, {}).key


@pytest.mark.parametrize(
    ("count", "said"), [(7, "7 B"), (3_140, "3.1 kB"), (31_400, "31 kB"), (12_345_678, "12 MB")]
)
def test_sizes_are_short(count, said):
    assert size_of(count) == said
