"""A cubemap's URI stands for six files, whatever order it names them in, and names of other files stand for none."""

from __future__ import annotations

import pytest

from pager_ray.cubemaps import FACES, canonical_uri, common_part, face_name, faces_of, plain_name
from pager_ray.geometry import FACE_NAMES
from pager_ray.schemes import short_name

WORDS = "{front,right,back,left,up,down}"


def test_faces_are_in_the_order_of_arrays() -> None:
    """One order for files and arrays."""
    assert FACES == FACE_NAMES


@pytest.mark.parametrize(
    ("uri", "first", "last", "canonical", "name"),
    [
        (f"/in/a/{WORDS}.jpg", "/in/a/front.jpg", "/in/a/down.jpg", f"/in/a/{WORDS}.jpg", "a.jpg"),
        ("x-{up,DOWN,Left,right,front,back}.PNG", "x-front.PNG", "x-DOWN.PNG", "x-{front,right,back,Left,up,DOWN}.PNG",
         "x.PNG"),
        ("a/{front,right,back,left,top,bottom}.png", "a/front.png", "a/bottom.png",
         "a/{front,right,back,left,top,bottom}.png", "a.png"),
        ("s3://b/x_skybox{0..5}_sami.jpg", "s3://b/x_skybox1_sami.jpg", "s3://b/x_skybox5_sami.jpg",
         "s3://b/x_skybox{1,2,3,4,0,5}_sami.jpg", "x.jpg"),
        ("http://h/p/{px,nx,py,ny,pz,nz}.hdr", "http://h/p/pz.hdr", "http://h/p/ny.hdr",
         "http://h/p/{pz,px,nz,nx,py,ny}.hdr", "p.hdr"),
        ("{posx,negx,posy,negy,posz,negz}.jpg", "posz.jpg", "negy.jpg", "{posz,posx,negz,negx,posy,negy}.jpg",
         "cubemap.jpg"),
        ("zip://in/t_{l,r,u,d,f,b}.jpg::s3://b/x.zip", "zip://in/t_f.jpg::s3://b/x.zip", "zip://in/t_d.jpg::s3://b/x.zip",
         "zip://in/t_{f,r,b,l,u,d}.jpg::s3://b/x.zip", "t.jpg"),
        (f"tar://{WORDS}.jpg::/in/x.tar", "tar://front.jpg::/in/x.tar", "tar://down.jpg::/in/x.tar",
         f"tar://{WORDS}.jpg::/in/x.tar", "x.jpg"),
        (f"/{{old,new}}/{WORDS}.jpg", "/{old,new}/front.jpg", "/{old,new}/down.jpg", f"/{{old,new}}/{WORDS}.jpg",
         "{old,new}.jpg"),
    ],
)  # fmt: skip
def test_names_say_which_face_they_are(uri: str, first: str, last: str, canonical: str, name: str) -> None:
    """In whatever order, under every naming, in folders, stores and containers."""
    faces = faces_of(uri)
    assert faces is not None
    assert (faces[0], faces[-1], len({*faces})) == (first, last, 6)
    assert canonical_uri(uri) == canonical
    assert faces_of(canonical) == faces
    assert (plain_name(uri), short_name(uri)) == (name, name)


@pytest.mark.parametrize(
    "uri",
    ["/in/front.jpg", "/in/{a,b}.jpg", "/in/{front,right,back,left,up}.jpg", "/in/{front,right,back,left,up,up}.jpg",
     "/in/{front,right,back,left,up,top}.jpg", "/in/{front,r,back,left,up,down}.jpg", "x{0..5}.jpg",
     "/in/{front,right,back,left,up,x/down}.jpg", "/{front,right,back,left,up,down}/a.jpg", "x{f,r,b,l,u,d}.jpg",
     "x_{f,r,b,l,u,d}", "parquet://image/1::/in/{f,r,b,l,u,d}.parquet", "x_skybox{1..6}_sami.jpg", "{", "{}", ""],
)  # fmt: skip
def test_other_names_stand_for_no_cubemap(uri: str) -> None:
    """Fewer, doubled and mixed names, and braces elsewhere."""
    assert (faces_of(uri), canonical_uri(uri), plain_name(uri)) == (None, None, None)


def test_letters_tell_what_else_is_counted() -> None:
    """A single letter that is no face's is known as that; longer words are none at all."""
    strange = face_name("x_a.jpg")
    assert strange is not None
    assert (strange.kind, strange.face) == ("letters", None)
    assert face_name("x_frontal.jpg") is face_name("front") is face_name("x_skybox6_sami.jpg") is None


def test_what_names_share() -> None:
    """Without the sign that parts it from the word."""
    assert [common_part(before) for before in ("a/", "a/x_", "a/x-", "x_skybox", "", "a_b/")] == [
        "a", "a/x", "a/x", "x", "", "a_b"
    ]  # fmt: skip
