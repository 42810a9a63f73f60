"""Files are recognised by what they are, listed by what they are called."""

from __future__ import annotations

import pytest

from pager_ray.errors import InputError
from pager_ray.read import formats
from pager_ray.read.formats import IMAGE_SUFFIXES, detect_format, extra_for, is_image_name, supported_formats
from tests.read.images import FORMATS, encode, picture


@pytest.mark.parametrize(
    "name",
    [
        "a.jpg",
        "A.JPG",
        "/x y/room #1?.jpeg",
        "s3://bucket/a/b.png",
        "https://h/a.webp?sig=1.txt#x",
        "a.b.tif",
        "x.avif",
        "a.HEIC",
        "a.hif",
        "a.jxl",
        "studio.hdr",
        "studio.exr",
    ],
)
def test_image_names(name: str) -> None:
    """Suffixes count whatever their case, in paths, object keys and URLs with queries."""
    assert is_image_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "a.txt",
        "jpg",
        "a.jpg.part",
        ".jpg",
        "d/._a.jpg",
        "d/.a.jpg",
        "https://h/a?b=c.jpg",
        "a.svg",
        "a.pdf",
        "a.gif",
        "",
    ],
)
def test_other_names(name: str) -> None:
    """Other suffixes, queries and hidden files are no images."""
    assert not is_image_name(name)


def test_every_suffix_belongs_to_a_listing() -> None:
    """Suffixes are lower case with their dot, as PurePath gives them."""
    assert all(suffix == suffix.lower() and suffix[0] == "." for suffix in IMAGE_SUFFIXES)


@pytest.mark.parametrize("name", FORMATS)
def test_formats_are_recognised_by_content(name: str) -> None:
    """What Pillow writes is recognised as what it is."""
    assert detect_format(encode(picture(64, 32), name))[0] == name


@pytest.mark.parametrize(
    ("data", "error_class", "word"),
    [
        (b"", "empty_file", "empty"),
        (b"\0", "not_an_image", "1 bytes"),
        (b"hello, this is text\n", "not_an_image", "hello"),
        (b"\xff\xd8", "not_an_image", "JPEG"),
        (b"<html><body>404</body></html>", "not_an_image", "<html>"),
        (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "unsupported_format", "SVG"),
        (b"\xef\xbb\xbf  <SVG/>", "unsupported_format", "SVG"),
        (b"%PDF-1.7", "unsupported_format", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "unsupported_format", "EPS"),
        (b"GIF89a", "unsupported_format", "GIF"),
        (b"8BPS\0\1", "unsupported_format", "Photoshop"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1miaf", "unsupported_format", "HEIF"),
        (b"\0\0\0\x14ftypmp42\0\0\0\0isom", "unsupported_format", "ISO"),
        (b"\0\0\0\x18ftypisom\0\0", "unsupported_format", "ISO"),
    ],
)
def test_everything_else_is_refused_by_name(data: bytes, error_class: str, word: str) -> None:
    """Empty, unknown and known but unread files are told apart, and messages name what would be read."""
    with pytest.raises(InputError, match=word) as caught:
        detect_format(data)
    assert caught.value.error_class == error_class
    assert error_class == "empty_file" or all(name in str(caught.value) for name in supported_formats())


@pytest.mark.parametrize(
    ("data", "name", "suffix"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC", ".heic"),
        (b"\x76\x2f\x31\x01\2\0\0\0", "OpenEXR", ".exr"),
        (b"\xff\x0a\0\0", "JPEG XL", ".jxl"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL", ".jxl"),
    ],
)
def test_a_missing_extra_is_named(data: bytes, name: str, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its decoder is not installed a format is unsupported, in one line that says what to install where."""
    assert detect_format(data)[0] == name
    assert is_image_name(f"a{suffix}")
    assert extra_for(suffix) is None
    monkeypatch.setattr(formats, "_is_installed", lambda module: False)
    with pytest.raises(
        InputError, match=rf"{name} files are read by an extra: pip install 'pager_ray\[formats\]'"
    ) as caught:
        detect_format(data)
    assert caught.value.error_class == "unsupported_format"
    assert not is_image_name(f"a{suffix}")
    assert extra_for(suffix) == "pip install 'pager_ray[formats]'"
    assert extra_for(".jpg") is extra_for(".txt") is None
