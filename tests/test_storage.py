"""Storage: local folders and object stores behave the same, ids never leave the folder, secrets never show."""

import errno
import socket
import subprocess

import fsspec
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pager_ray import storage
from pager_ray.errors import StorageError
from pager_ray.masking import carries_secret, mask_uri
from pager_ray.retrying import Retry
from pager_ray.storage import Folder, safe_name
from tests.harness import stores


@pytest.fixture(params=["local", "memory"])
def folder(request, tmp_path):
    if request.param == "local":
        yield Folder(str(tmp_path / "run"))
    else:
        yield Folder("memory://run")
        fsspec.filesystem("memory").store.clear()


@pytest.mark.parametrize("page", [1, 3, 1000])
def test_a_folder_is_gone_through_in_pages(folder, page, monkeypatch):
    """Page by page the same files as at once, each once; of a folder that is not there none."""
    monkeypatch.setattr(storage, "_PAGE", page)
    assert list(folder.pages()) == []
    for number in range(7):
        folder.write(f"{number}.txt", b"")
    folder.write("a.json", b"")
    (folder / "sub.txt").write("c.txt", b"")
    pages = list(folder.pages(".txt"))
    assert all(0 < len(names) <= page for names in pages)
    assert sorted(name for names in pages for name in names) == folder.names(".txt")
    assert len(pages) == -(-7 // page)
    assert sorted(name for names in folder.pages(".txt", ["1", "3", "a"]) for name in names) == ["1.txt", "3.txt"]


def test_files_come_back(folder):
    """What is written is read, listed in order and deleted, on every file system."""
    folder.make()
    assert not folder.exists("a.json")
    folder.write("b.txt", b"2")
    folder.write_json("a.json", {"x": [1, "ü"]})
    (folder / "sub").write("c.txt", b"3")
    assert folder.names() == ["a.json", "b.txt"]
    assert folder.names(".txt") == ["b.txt"]
    assert folder.read_json("a.json") == {"x": [1, "ü"]}
    assert folder.delete(["b.txt", "absent"]) == 1
    assert not folder.exists("b.txt")
    assert folder.entries() == ["a.json", "sub"]
    assert folder.delete_where(lambda name: name == "absent") == 0
    assert folder.delete_where(lambda name: name == "a.json") == 1
    assert folder.names() == []
    assert (folder / "sub").names() == ["c.txt"]
    assert (folder / "sub").delete_where(lambda name: True) == 1
    assert (folder / "sub").names() == []


def test_files_are_created_once(folder):
    """An exclusive put succeeds where nothing is, and leaves what is there as it is, on every file system."""
    assert folder.create("lease.json", b"first")
    assert not folder.create("lease.json", b"second")
    assert folder.read("lease.json") == b"first"
    assert folder.names() == ["lease.json"]


def test_files_are_created_once_without_links(tmp_path, monkeypatch):
    """File systems without hard links, such as mounted buckets, still decide who was first."""

    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", no_links)
    folder = Folder(str(tmp_path))
    assert folder.create("lease.json", b"first")
    assert not folder.create("lease.json", b"second")
    assert folder.read("lease.json") == b"first"
    assert folder.names() == ["lease.json"]


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    """A writer that dies before its file is whole leaves the old content."""
    folder = Folder(str(tmp_path))
    folder.write("run.json", b"old")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(StorageError, match="disk full"):
        folder.write("run.json", b"new")
    assert folder.read("run.json") == b"old"


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of 64 KiB, where this process may mount one."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False, timeout=900).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("no right to mount a tmpfs")
    yield path
    subprocess.run(["umount", str(path)], check=True, timeout=900)


def test_a_full_disk_is_told(tiny_disk):
    """On a disk without room a write is one line that says so; the old file stays, and no part of the new one."""
    folder = Folder(str(tiny_disk))
    folder.write("run.json", b"old")
    with pytest.raises(StorageError) as caught:
        folder.write("run.json", bytes(2**20))
    assert str(caught.value) == (
        f"{tiny_disk}/run.json: cannot be written (No space left on device); make room there, then run the same "
        "command again"
    )
    assert folder.names() == ["run.json"]
    assert folder.read("run.json") == b"old"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "(Disk quota exceeded); make room there, then"),
        (OSError(errno.EROFS, "Read-only file system"), "(Read-only file system); check its store and the right to it"),
        (OSError("AccessDenied:\n key, bucket"), "(AccessDenied: key, bucket); check its store and the right to it"),
        (OSError(), "(OSError); check its store and the right to it, then run the same command again"),
    ],
)
def test_failed_requests_say_what_to_do(monkeypatch, error, message):
    """What a store refuses for good is one line with the file, the cause and the remedy."""
    folder = Folder("memory://run")

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(type(folder.filesystem), "pipe_file", refuse)
    with pytest.raises(StorageError) as caught:
        folder.write("run.json", b"new")
    assert str(caught.value).startswith(f"memory://run/run.json: cannot be written {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "cause"),
    [(b"{", r"is not JSON \(.*\)"), (b"[1]", "holds no JSON object"), (b"\xff", r"is not JSON \(.*\)")],
)
def test_damaged_json_is_named(folder, content, cause):
    """A JSON file that is none is an error that names it, with the cause and a way out."""
    folder.write("run.json", content)
    with pytest.raises(
        StorageError, match=rf"/run\.json: {cause}; restore it from a copy, or start anew with --overwrite$"
    ):
        folder.read_json("run.json")


def test_unknown_protocols_are_named():
    """A URL that no file system serves is an error with what is taken, not a folder of that name."""
    with pytest.raises(
        StorageError, match=r"^nosuch://bucket/run: no file system serves this URL \(.*\); takes a path or a URL"
    ):
        Folder("nosuch://bucket/run")


@given(st.text(max_size=400))
def test_safe_names_are_single_components(name):
    """No id gives a name with a separator, a leading dot, or more bytes than a file system takes."""
    safe = safe_name(name)
    assert "/" not in safe
    assert "\\" not in safe
    assert not safe.startswith(".")
    assert len(safe.encode()) <= 255 - len(".parquet")


@given(st.sets(st.text(max_size=60), min_size=2, max_size=20))
def test_safe_names_keep_ids_apart(names):
    """Two ids never share a file."""
    assert len({safe_name(name) for name in names}) == len(names)


@given(st.text(alphabet="abcXYZ019_-(+,=üé漢ß", min_size=1, max_size=50))
def test_plain_ids_keep_their_name(name):
    """Ids that are file names already, in any script, stay as they stand."""
    assert safe_name(name) == name


def test_names_that_file_systems_confuse_are_kept_apart():
    """A letter written composed and decomposed are two ids; some file systems would take them for one."""
    composed, decomposed = "é", "e\u0301"
    assert safe_name(composed) == composed
    assert safe_name(decomposed) == "e%CC%81"
    assert safe_name("\u212b") == "%E2%84%AB"  # the angstrom sign decomposes to a letter of its own


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://key:secret@bucket/a.jpg", "s3://bucket/a.jpg"),
        ("https://host/a.jpg?X-Amz-Signature=abc&x=1", "https://host/a.jpg?x=1"),
        ("https://user:pass@host:8080/a.jpg#frag", "https://host:8080/a.jpg#frag"),
        ("s3://bucket/a?.jpg", "s3://bucket/a?.jpg"),
        ("/data/a#b?c=d.jpg", "/data/a#b?c=d.jpg"),
        ("relative/a.jpg", "relative/a.jpg"),
    ],
)
def test_secrets_are_masked(uri, shown):
    """User info and signed queries never show; plain paths stay as they are."""
    assert mask_uri(uri) == shown
    assert carries_secret(uri) == (shown != uri)


@pytest.mark.parametrize(
    "uri",
    [
        "hdfs:///data/x.jpg",
        "memory:///bucket/run",
        "s3://bucket/room#2.jpg",
        "s3://bucket/room.jpg?versionId=3",
        "abfs://container@account.dfs.core.windows.net/x",
    ],
)
def test_places_are_no_secrets(uri):
    """What only says where a file lies is shown as it is."""
    assert mask_uri(uri) == uri
    assert not carries_secret(uri)


@pytest.mark.parametrize(
    "uri",
    [
        "zip://a.jpg::s3://k:hunter2@b/x.zip",
        "simplecache::https://h/a.jpg?sig=hunter2",
        "filecache::s3://k:hunter2@b/a",
        "abfs://container@account/a?sig=hunter2",
        "https://hunter2@host/a.jpg",
        "http://[bad/a.jpg?sig=hunter2",
    ],
)
def test_secrets_are_masked_in_odd_urls(uri):
    """Chained, malformed and tokened URLs hide their secrets too."""
    assert "hunter2" not in mask_uri(uri)
    assert carries_secret(uri)


def test_any_buffer_can_be_written(folder):
    """Arrow's buffers are files like bytes, on every file system: clients of object stores take nothing but bytes."""
    folder.make()
    folder.write("a.bin", pa.py_buffer(b"123"))
    assert folder.read("a.bin") == b"123"


def test_removed_folders_are_gone_whatever_was_listed_before(folder):
    """Files that other processes wrote since the last listing are removed too."""
    folder.make()
    folder.write("a", b"1")
    folder.names()
    folder.filesystem.pipe_file(folder.join("b"), b"2")
    assert folder.delete_where(lambda name: True) == 2
    assert folder.names() == []


def test_what_a_store_decides_is_found_out_by_trying(tmp_path, monkeypatch):
    """Disks decide who was first; a store that takes a condition and does not heed it is found out; nothing stays."""
    assert Folder(str(tmp_path)).decides()
    folder = Folder("memory://run")
    assert (folder / "state").decides()
    files = type(folder.filesystem)
    as_it_was = files.pipe_file
    monkeypatch.setattr(files, "pipe_file", lambda self, path, value, mode="": as_it_was(self, path, value))
    other = Folder("memory://run")
    assert not (other / "state").decides()
    assert (other / "state").entries() == []
    # Known from now on to all that name the same folder: it is looked for before it is written.
    assert other.create("a", b"1")
    assert not other.create("a", b"2")
    assert other.read("a") == b"1"
    other.delete(["a"])


def test_a_store_that_never_answers_a_put_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections and says nothing, not even that it may be sent something: an error, within time limits."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "one")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    limits = {"read_timeout": 0.1, "connect_timeout": 5, "retries": {"max_attempts": 0}}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with stores.configured("s3", config_kwargs=limits):
            folder = Folder("s3://bucket/run", retry=Retry(0))
            with pytest.raises(StorageError, match="cannot be written"):
                folder.write("x", b"content")
