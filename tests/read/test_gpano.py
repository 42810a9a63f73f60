"""GPano metadata place a cropped panorama exactly, and nonsense in them is an error with the numbers."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pager_ray.errors import InputError
from pager_ray.read.gpano import GPANO_IGNORED, MAX_XMP_BYTES, place, read_gpano, settle
from tests.read.images import cropped, gpano_xmp


def texts(fields: dict[str, object]) -> dict[str, str]:
    return {name: str(value) for name, value in fields.items()}


@pytest.mark.parametrize("elements", [False, True])
def test_properties_are_read_in_both_forms(elements: bool) -> None:
    """Attributes and child elements give the same properties, padding and white space removed."""
    fields = cropped(1, 2, 3, 4, 5, 6)
    assert read_gpano(gpano_xmp(elements, **fields) + b" \n\0\0") == texts(fields)


def test_other_prefixes_and_other_namespaces() -> None:
    """The namespace decides, not the prefix."""
    packet = gpano_xmp(ProjectionType="equirectangular")
    assert read_gpano(packet.replace(b"GPano:", b"g:").replace(b":GPano=", b":g=")) == {
        "ProjectionType": "equirectangular"
    }
    assert read_gpano(packet.replace(b"ns.google.com", b"example.com")) == {}


@pytest.mark.parametrize("xmp", [None, b"", b"not xml <<<", b"\0" * (MAX_XMP_BYTES + 1)])
def test_packets_without_gpano_do_not_matter(xmp: bytes | None) -> None:
    """Whatever else is wrong with an XMP packet that does not speak of GPano, the image is read without it."""
    assert read_gpano(xmp) == {}


@pytest.mark.parametrize(
    ("xmp", "word"),
    [
        (gpano_xmp(FullPanoWidthPixels=1)[:-40], "cannot be parsed"),
        (gpano_xmp(FullPanoWidthPixels=1) + b"<", "cannot be parsed"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]>' + gpano_xmp(FullPanoWidthPixels="&b;"), "document type"),
        (b'<!DOCTYPE a SYSTEM "file:///etc/passwd">' + gpano_xmp(FullPanoWidthPixels=1), "document type"),
        (gpano_xmp(FullPanoWidthPixels=1).replace(b"xmlns:GPano", b"xmlns:other"), "prefix 'GPano'"),
        (b'<?xml version="1.0" encoding="nonsense"?>' + gpano_xmp(FullPanoWidthPixels=1), "cannot be parsed"),
        (gpano_xmp(FullPanoWidthPixels=1) + b" " * MAX_XMP_BYTES, "at most"),
        (
            gpano_xmp(FullPanoWidthPixels=1).replace(
                b"></rdf:Desc", b"><GPano:FullPanoWidthPixels>2</GPano:FullPanoWidthPixels></rdf:Desc"
            ),
            "twice",
        ),
    ],
    ids=["cut", "tail", "entity", "dtd", "unbound", "encoding", "oversized", "contradiction"],
)
def test_broken_packets_are_refused(xmp: bytes, word: str) -> None:
    """A GPano packet that is cut, forged, oversized or contradictory is bad_gpano: never a guess."""
    with pytest.raises(InputError, match=word) as caught:
        read_gpano(xmp)
    assert caught.value.error_class == "bad_gpano"


BINDINGS = " ".join(f'xmlns:p{n}="x"' for n in range(25_000))
MULTIPLIED = {
    "long namespace": f'<p:r xmlns:p="{"n" * 400_000}">' + "".join(f"<p:a{n}/>" for n in range(40_000)) + "</p:r>",
    "deep nesting": "<a>" * 100_000 + "</a>" * 100_000,
    "many bindings": f"<a {BINDINGS}>" + '<b xmlns:c="x"/>' * 25_000 + "</a>",
}


@pytest.mark.parametrize("inside", MULTIPLIED.values(), ids=MULTIPLIED)
def test_a_megabyte_of_xml_stays_a_megabyte(inside: str) -> None:
    """Parsing costs what a packet is long, whatever namespaces and nesting multiply to; the properties are found."""
    tracemalloc.start()
    try:
        packet = gpano_xmp(FullPanoWidthPixels=1).replace(b"></rdf:Desc", b">" + inside.encode() + b"</rdf:Desc")
        assert len(packet) < MAX_XMP_BYTES
        assert read_gpano(packet) == {"FullPanoWidthPixels": "1"}
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def test_default_attributes_are_not_multiplied() -> None:
    """A document type could give every element half a megabyte of attribute: it is refused before the first."""
    doctype = f'<!DOCTYPE l [<!ATTLIST b a CDATA "{"x" * 400_000}">]>'.encode()
    packet = gpano_xmp(FullPanoWidthPixels=1).replace(b"></rdf:Desc", b">" + b"<b/>" * 100_000 + b"</rdf:Desc")
    with pytest.raises(InputError, match="document type"):
        read_gpano(doctype + packet)


def test_inner_bindings_hide_outer_ones_and_end() -> None:
    """A prefix means what the innermost element says, and again what it meant once that has ended."""
    packet = gpano_xmp(A=1).replace(
        b"></rdf:Desc",
        b'><n xmlns:GPano="other" GPano:A="2"/><m xmlns="http://ns.google.com/photos/1.0/panorama/" B="3"><A>1</A></m>'
        b"<GPano:C>4</GPano:C></rdf:Desc",
    )
    assert read_gpano(packet) == {"A": "1", "C": "4", "m": ""}


@pytest.mark.parametrize(
    "value", ["9" * 5000, "1\n2", "\u202e821", "x" * 50_000, "1\u20282", "\x85", "1" + "\n" * 9 + "2"]
)
@pytest.mark.parametrize("name", ["CroppedAreaTopPixels", "ProjectionType"])
def test_messages_are_one_short_line_whatever_strangers_write(name: str, value: str) -> None:
    """Values are shown escaped and by their start."""
    fields = texts(cropped(0, 100, 800, 200, 800, 400)) | {name: value}
    twice = gpano_xmp(**{name: "0"}).replace(
        b"></rdf:Desc", f"><GPano:{name}>{value}</GPano:{name}></rdf:Desc".encode()
    )
    for refuse in (lambda: place(800, 200, fields), lambda: read_gpano(twice)):
        with pytest.raises(InputError) as caught:
            refuse()
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 500


@pytest.mark.parametrize(("width", "height"), [(4096, 2048), (4097, 2048), (4095, 2048), (64, 32)])
def test_two_to_one_within_a_pixel_is_a_panorama(width: int, height: int) -> None:
    """The ERP keeps the image's height and is covered completely."""
    placement = place(width, height, {})
    assert (placement.erp_height, placement.erp_width, placement.coverage) == (height, 2 * height, 1)


@pytest.mark.parametrize(("width", "height"), [(4138, 2048), (4054, 2048), (6000, 2000), (2048, 4096), (1000, 1000)])
def test_other_aspects_are_refused_with_their_numbers(width: int, height: int) -> None:
    """Nothing is stretched: the message has size, aspect and what would do."""
    with pytest.raises(InputError, match=f"{width}×{height} pixels, aspect {width / height:.2f}.*2:1.*GPano") as caught:
        place(width, height, {})
    assert caught.value.error_class == "not_a_panorama"


@pytest.mark.parametrize("tolerance", [0.0, 0.004, 0.01, 0.05])
def test_panoramas_are_stretched_up_to_the_tolerance_and_no_more(tolerance: float) -> None:
    """A few pixels off 2:1 is a panorama; the stretch is told, and is a pixel of rounding or within the tolerance."""
    for width in range(1880, 2120):
        if abs(width - 2000) > max(1, width * tolerance):
            with pytest.raises(InputError, match="an equirectangular panorama is 2:1"):
                place(width, 1000, {}, tolerance)
        else:
            assert place(width, 1000, {}, tolerance).stretch == pytest.approx(2000 / width)


def test_a_part_and_its_whole_share_the_tolerance() -> None:
    """A crop of an uneven panorama is taken where the two together stretch it by no more than is allowed."""
    uneven = texts(cropped(0, 100, 1990, 300, 1990, 1000))
    assert place(1990, 300, uneven).stretch == pytest.approx(2000 / 1990)
    assert place(1990, 299, uneven).stretch == pytest.approx(2000 / 1990 * 299 / 300)
    with pytest.raises(InputError, match=r"would stretch the image by 1\.\d\d%, at most 1\.00%"):
        place(1982, 300, texts(cropped(0, 100, 1990, 299, 1984, 1000)) | {"CroppedAreaImageWidthPixels": "1982"})


EMPTY = dict.fromkeys(cropped(0, 0, 0, 0, 0, 0), "")
TWICE = gpano_xmp(FullPanoWidthPixels=800).replace(
    b"></rdf:Desc", b"><GPano:FullPanoWidthPixels>900</GPano:FullPanoWidthPixels></rdf:Desc"
)
STALE = {
    "of the picture before it was filled up": gpano_xmp(**cropped(0, 100, 800, 200, 800, 400)),
    "leaves the panorama": gpano_xmp(**cropped(10, 0, 800, 400, 800, 400)),
    "doubled": TWICE,
    "empty": gpano_xmp(**EMPTY),
    "no projection": gpano_xmp(ProjectionType=""),
    "cut": gpano_xmp(FullPanoWidthPixels=1)[:-40],
}


@pytest.mark.parametrize("xmp", STALE.values(), ids=STALE)
def test_gpano_that_cannot_be_true_costs_no_panorama(xmp: bytes) -> None:
    """On a picture that is 2:1 by itself it is told and left out; on others, and where required, it is refused."""
    assert settle(800, 400, xmp) == (place(800, 400, {}), (GPANO_IGNORED,))
    for width, mode in ((700, "auto"), (800, "require")):
        with pytest.raises(InputError) as caught:
            settle(width, 400, xmp, mode)  # type: ignore[arg-type]
        assert caught.value.error_class == "bad_gpano"
    assert settle(800, 400, xmp, "ignore") == (place(800, 400, {}), ())


def test_gpano_that_says_something_else_is_no_mistake() -> None:
    """Another projection, and an attack on the parser, are refused whatever the picture's shape."""
    for xmp in (gpano_xmp(ProjectionType="cylindrical"), b"<!DOCTYPE a>" + gpano_xmp(FullPanoWidthPixels=800)):
        with pytest.raises(InputError) as caught:
            settle(800, 400, xmp)
        assert caught.value.error_class == "bad_gpano"


def test_modes_of_gpano() -> None:
    """Metadata that fit place the picture, are not looked at, or have to be there."""
    part = gpano_xmp(**cropped(0, 0, 400, 200, 800, 400))
    assert settle(400, 200, part)[0].coverage == settle(400, 200, part, "require")[0].coverage == 0.25
    assert settle(400, 200, part, "ignore")[0].coverage == 1
    assert settle(400, 200, None) == (place(400, 200, {}), ())
    with pytest.raises(InputError, match=r"without GPano metadata, and input\.gpano is require") as caught:
        settle(400, 200, None, "require")
    assert caught.value.error_class == "not_a_panorama"


def test_tiny_panoramas_are_refused() -> None:
    """Below 64 pixels around, faces have next to no pixels."""
    with pytest.raises(InputError, match="62×31") as caught:
        place(62, 31, {})
    assert caught.value.error_class == "too_small"


@st.composite
def crops(draw: Any) -> tuple[int, int, int, int, int]:
    full_height = draw(st.integers(32, 5000))
    width, height = draw(st.integers(1, 2 * full_height)), draw(st.integers(1, full_height))
    left, top = draw(st.integers(0, 2 * full_height - width)), draw(st.integers(0, full_height - height))
    return left, top, width, height, full_height


@settings(max_examples=200)
@given(crops())
def test_crops_lie_where_they_say(crop: tuple[int, int, int, int, int]) -> None:
    """An unscaled crop of a 2:1 panorama lies on whole pixels, exactly as told."""
    left, top, width, height, full_height = crop
    placement = place(width, height, texts(cropped(left, top, width, height, 2 * full_height, full_height)))
    assert placement.erp_height == full_height
    assert (placement.left, placement.top, placement.width, placement.height) == pytest.approx(
        (left, top, width, height)
    )


@settings(max_examples=200)
@given(crops(), st.integers(2, 8))
def test_evenly_scaled_crops_keep_their_place(crop: tuple[int, int, int, int, int], factor: int) -> None:
    """A file that was shrunk after stitching covers the same share of the sphere at its own resolution."""
    left, top, width, height, full_height = (n * factor * 16 for n in crop)
    fields = texts(cropped(left, top, width, height, 2 * full_height, full_height))
    placement = place(width // factor, height // factor, fields)
    assert placement.erp_height == full_height // factor
    assert placement.left / placement.erp_width == pytest.approx(left / (2 * full_height))
    assert placement.coverage == pytest.approx(width * height / (2 * full_height**2))


def test_full_gpano_is_ordinary() -> None:
    """A whole panorama whose metadata say so is placed as without them, also after scaling."""
    fields = texts(cropped(0, 0, 8000, 4000, 8000, 4000))
    assert place(8000, 4000, fields) == place(8000, 4000, {})
    assert place(2000, 1000, fields) == place(2000, 1000, {})
    assert place(2000, 1000, {"ProjectionType": "equirectangular"}) == place(2000, 1000, {})
    assert place(2000, 1000, {"UsePanoramaViewer": "True"}) == place(2000, 1000, {})


def test_missing_fields_are_filled_only_where_nothing_else_is_possible() -> None:
    """The cropped size defaults to the image's, an offset to 0 only where there is no room for another."""
    full = {"FullPanoWidthPixels": "800", "FullPanoHeightPixels": "400"}
    strip = place(800, 200, full | {"CroppedAreaTopPixels": "100"})
    assert (strip.left, strip.top, strip.width, strip.height) == (0, 100, 800, 200)
    assert place(800, 400, {"CroppedAreaImageWidthPixels": "800"}) == place(800, 400, {})
    for fields, word in (
        (full, "CroppedAreaTopPixels"),
        ({"CroppedAreaTopPixels": "100"}, "FullPanoWidthPixels"),
        ({"CroppedAreaTopPixels": "100", "FullPanoWidthPixels": "800"}, "FullPanoHeightPixels"),
    ):
        with pytest.raises(InputError, match=f"lacks.*{word}") as caught:
            place(800, 200, fields)
        assert caught.value.error_class == "bad_gpano"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"ProjectionType": "cylindrical"}, "cylindrical"),
        ({"FullPanoWidthPixels": "900"}, "not 2:1"),
        ({"CroppedAreaTopPixels": "201"}, "leaves"),
        ({"CroppedAreaLeftPixels": "1"}, "leaves"),
        ({"CroppedAreaLeftPixels": "-1"}, "no pixel count"),
        ({"CroppedAreaTopPixels": "many"}, "no pixel count"),
        ({"CroppedAreaTopPixels": "nan"}, "no pixel count"),
        ({"CroppedAreaTopPixels": "1e3"}, "no pixel count"),
        ({"CroppedAreaTopPixels": "9" * 40}, "no pixel count"),
        ({"CroppedAreaImageHeightPixels": "0"}, "empty"),
        ({"CroppedAreaImageHeightPixels": "150"}, "another aspect"),
        ({"FullPanoWidthPixels": "0", "FullPanoHeightPixels": "0"}, "empty"),
    ],
)
def test_nonsense_is_refused_with_the_numbers(change: dict[str, str], word: str) -> None:
    """Impossible numbers are bad_gpano, and the message shows what was said."""
    fields = texts(cropped(0, 100, 800, 200, 800, 400)) | change
    with pytest.raises(InputError, match=word) as caught:
        place(800, 200, fields)
    assert caught.value.error_class == "bad_gpano"
    assert all(value in str(caught.value) for value in change.values())


def test_whole_numbers_in_decimal_form_are_numbers() -> None:
    """Some writers print 100.0."""
    fields = texts(cropped(0, 100, 800, 200, 800, 400))
    assert place(800, 200, fields | {"CroppedAreaTopPixels": "100.0"}) == place(800, 200, fields)
