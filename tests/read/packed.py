"""The same pictures in every kind of container, as the tools that make them write them."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

FORMS = ("files", "tar", "zip", "parquet", "hub")
"""Kinds of :func:`pack`."""


def add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """One member of a tar."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    """A tar of the given members, in order."""
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            add(archive, name, content)
    return path


def write_index(tar: Path) -> Path:
    """DALI's index beside a tar."""
    with tarfile.open(tar) as archive:
        lines = [f"{m.name.partition('.')[2]} {m.offset_data} {m.size} {m.name}" for m in archive if m.isreg()]
    path = tar.with_suffix(".idx")
    path.write_text("\n".join([f"v1.2 {len(lines)}", *lines]) + "\n")
    return path


def write_hub(path: Path, rows: Mapping[str, bytes], *, group: int = 8, **columns: list[Any]) -> Path:
    """A Parquet file as Hugging Face's ``datasets`` writes one with an image feature."""
    features = {"image": {"_type": "Image"}, **{name: {"dtype": "string", "_type": "Value"} for name in columns}}
    images = [{"bytes": content, "path": f"{name}.png"} for name, content in rows.items()]
    kind = pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())])
    table = pa.table({"image": pa.array(images, kind), **columns})
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=group)
    return path


def pack(form: str, folder: Path, pictures: Mapping[str, bytes], *, suffix: str = "png", shards: int = 2) -> list[str]:
    """Write pictures by id in one kind of container; gives the names of what was written."""
    names = list(pictures)
    size = -(-len(names) // shards)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(shards):
        part = {name: pictures[name] for name in names[number * size : (number + 1) * size]}
        stem = folder / f"shard-{number:04}"
        if form == "files":
            for name, content in part.items():
                (folder / f"{name}.{suffix}").write_bytes(content)
        elif form == "tar":
            write_tar(
                stem.with_suffix(".tar"),
                [
                    member
                    for name, content in part.items()
                    for member in ((f"{name}.{suffix}", content), (f"{name}.json", b'{"scene": "indoor"}'))
                ],
            )
        elif form == "zip":
            with zipfile.ZipFile(stem.with_suffix(".zip"), "w") as archive:
                for name, content in part.items():
                    archive.writestr(f"{name}.{suffix}", content)
        elif form == "parquet":
            table = pa.table({"key": list(part), "image": pa.array([*part.values()], pa.binary())})
            pq.write_table(table, stem.with_suffix(".parquet"), row_group_size=8)
        else:
            write_hub(folder / "data" / f"train-{number:05}-of-{shards:05}.parquet", part, id=list(part))
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
