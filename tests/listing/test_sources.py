"""Listing: every row gets a unique id, and sources that cannot be understood are named."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pager_ray.errors import ConfigError
from pager_ray.listing import list_inputs


@pytest.fixture
def panoramas(tmp_path):
    """A folder tree of empty files: listing never opens images."""
    for name in ("a.jpg", "b.PNG", "notes.md", "deep/a.jpg", "deep/c.webp", "deep/c.jpg"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "in"


def ids(*uris):
    return [row.id for row in list_inputs([str(uri) for uri in uris])]


def test_folder_ids_are_relative_paths(panoramas):
    """Ids are paths inside the folder without extension, with it where that is ambiguous."""
    assert ids(panoramas) == ["a", "b", "deep/a", "deep/c.jpg", "deep/c.webp"]


def test_globs(panoramas):
    """A glob lists images relative to its fixed part."""
    assert ids(f"{panoramas}/*/*.jpg") == ["deep/a", "deep/c"]
    assert ids(f"{panoramas}/deep/?.jpg") == ["a", "c"]


def test_two_folders_with_the_same_names(panoramas):
    """Where relative paths collide the id is the whole path, without a leading slash."""
    both = ids(panoramas / "deep", f"{panoramas}/a.jpg")
    assert both == [f"{panoramas}/deep/a.jpg".lstrip("/"), "c.jpg", "c.webp", f"{panoramas}/a.jpg".lstrip("/")]


def test_overlapping_sources_list_a_file_once(panoramas):
    """A file that folder and glob both name is one input."""
    assert ids(panoramas, f"{panoramas}/**/a.jpg") == ids(panoramas)


def test_csv_listing(tmp_path):
    """A listing's uri is relative to it, ids stay text, scenes are kept."""
    listing = tmp_path / "list.csv"
    listing.write_text("id,uri,scene,extra\n007,x/a.jpg,indoor,1\n,b.jpg,,2\n008,s3://bucket/c.jpg,outdoor,3\n")
    rows = list_inputs([str(listing)])
    assert [row.id for row in rows] == ["007", "b", "008"]
    assert [row.uri for row in rows] == [f"{tmp_path}/x/a.jpg", f"{tmp_path}/b.jpg", "s3://bucket/c.jpg"]
    assert [row.scene for row in rows] == ["indoor", None, "outdoor"]


def test_parquet_and_text_listings(tmp_path):
    """Parquet listings take a uri column, text listings one URI per line."""
    pq.write_table(pa.table({"uri": ["a.jpg", "b.jpg"], "id": [1, 2]}), tmp_path / "list.parquet")
    (tmp_path / "list.txt").write_text("# comment\nc.jpg\n\n  d.jpg \n")
    assert ids(tmp_path / "list.parquet", tmp_path / "list.txt") == ["1", "2", "c", "d"]


def test_taken_ids_become_rejects(tmp_path):
    """The first row keeps an id; later ones are rejects under ids of their own that nobody else has."""
    listing = tmp_path / "list.csv"
    listing.write_text("id,uri\nroom,a.jpg\nroom,b.jpg\nroom~2,c.jpg\nroom,d.jpg\n")
    rows = list_inputs([str(listing)])
    assert [row.id for row in rows] == ["room", "room~3", "room~2", "room~4"]
    assert [row.error_class for row in rows] == [None, "duplicate_id", None, "duplicate_id"]
    assert "already taken by" in rows[1].message
    assert "a.jpg" in rows[1].message


def test_a_missing_image_is_still_a_row(tmp_path):
    """A named image that is not there is listed: reading rejects it with the reason."""
    assert ids(tmp_path / "gone.jpg") == ["gone"]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("list.csv", "path\na.jpg\n", "no `uri` column; it has path"),
        ("list.csv", "uri\n", "lists nothing"),
        ("list.csv", "uri,scene\na.jpg,forest\n", "row 1: scene is 'forest'"),
        ("list.csv", "uri,id\n,x\n", "row 1 has no uri"),
        ("list.csv", 'uri,id\na.jpg,"x\ny"\n', "row 1: id takes"),
        ("list.csv", "uri\nhttps://host/a.jpg?sig=1\n", "row 1: the URI carries credentials"),
        ("list.csv", "a,b\n1\n", "cannot be read as a listing"),
        ("list.parquet", "not parquet", "cannot be read as a listing"),
        ("note.doc", "text", "is neither an image nor a listing"),
    ],
)
def test_bad_listings_are_named(tmp_path, name, content, expected):
    """A listing that cannot be understood is one error with the key, the file and what is wrong."""
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        list_inputs([str(path)])
    assert expected in str(caught.value)
    assert str(caught.value).startswith("input.uris[0]: ")


def test_sources_that_match_nothing(tmp_path):
    """Folders, globs and files that give no input are errors, not empty runs."""
    (tmp_path / "empty").mkdir()
    for source, expected in [
        ("empty", "holds no image"),
        ("*.jpg", "holds no image"),
        ("absent", "does not exist"),
        ("absent.csv", "does not exist"),
    ]:
        with pytest.raises(ConfigError, match=expected):
            list_inputs([str(tmp_path / source)])


def test_credentials_in_urls_are_refused():
    """A source with credentials in its URL is refused without repeating them."""
    with pytest.raises(ConfigError, match="carries credentials") as caught:
        list_inputs(["s3://key:verysecret@bucket/panoramas"])
    assert "verysecret" not in str(caught.value)
