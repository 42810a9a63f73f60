"""Pictures to other programs' files in this process alone, without Ray and without a run that stays.

Each panorama goes through the stages of a job up to its maps, which are exported as they are, in every format, before
the next one is read. What is recorded is what an export records, a folder per format: the same command goes on.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pager_ray.config import RunConfig
from pager_ray.errors import ConfigError, InputError, RunMismatchError
from pager_ray.export.course import finish, left_of, settings_identity
from pager_ray.export.exporter import EXPORT_SCHEMA, put_files
from pager_ray.export.formats import FORMATS, ExportSettings, check_possible, export_files, find_format
from pager_ray.export.records import EXPORT_FILE, Records
from pager_ray.listing import Listing
from pager_ray.masking import mask_uri
from pager_ray.modalities import is_metric
from pager_ray.model import ResolvedCheckpoint, resolve_checkpoint
from pager_ray.plain import get_logger
from pager_ray.prediction import Prediction
from pager_ray.read import Content
from pager_ray.reader.picture import picture_of
from pager_ray.report.outcomes import ConvertOutcome, ExportOutcome
from pager_ray.schemes import settled
from pager_ray.stages.infer import load_predictor, make_infer_fn
from pager_ray.stages.names import StageName
from pager_ray.stages.read import MASK_CONTENT, ReadSettings, fetch_row, fetched_mask, project_row
from pager_ray.stages.replaced import source_of, stamp_of_row, was_replaced
from pager_ray.stages.rows import IDENTITY, INFERRED, POSE, READ_SCHEMA, SOURCE, STATUS, Row, carry, iterate, to_table
from pager_ray.stages.settings import RunSettings, checkpoint_identity, run_settings
from pager_ray.stages.sources import list_sources
from pager_ray.stages.stitch import stitched_maps
from pager_ray.storage import Folder
from pager_ray.tracing import span, watcher
from pager_ray.validity import validity_of

if TYPE_CHECKING:
    from jaxtyping import UInt8
    from numpy import ndarray

log = get_logger(__name__)

_NAMES = [*(field.name for field in (*IDENTITY, *STATUS, POSE)), "mask"]
_SAID = ("uri", "scene", POSE.name, "mask")

_LOOKING = 16
"""Files that are looked at at a time; nearly all of it is waiting for their store."""


class Converter:
    """Predicts single rows of a listing.

    Args:
        settings: of the stages.

    Raises:
        CheckpointError: model or router cannot be loaded.
    """

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings
        loaded = load_predictor(settings.infer)
        self._infer = make_infer_fn(settings.read.face_size, loaded.predictor)

    def predict(self, row: Row) -> tuple[Prediction, Content]:
        """A row of the listing → its maps, as float32 arrays in memory, and the bytes they were made from.

        Raises:
            InputError: it is none that can be used; ``error_class`` and message are those of a job's reject.
        """
        content: Content | InputError | None = None
        if not row["error_class"]:
            try:
                content = fetch_row(row, self._settings.read)
            except InputError as error:
                content = error
        mask = {name: row[name] for name in (MASK_CONTENT,) if name in row}
        decoded = project_row({name: row.get(name) for name in _NAMES} | mask, content, self._settings.read)
        table = self._infer(to_table([decoded], READ_SCHEMA, 1, StageName.READ))
        (scalars,) = iterate(table)
        found = carry(scalars, [*IDENTITY, *STATUS, *SOURCE, *INFERRED])
        if found["error_class"] is not None:
            raise InputError(found["error_class"], found["message"], found["attempts"] or 1)
        maps, (height, width) = stitched_maps(found, scalars, self._settings.stitch)
        assert content is not None
        assert not isinstance(content, InputError)
        prediction = Prediction(
            id=found["id"],
            uri=found["uri"],
            height=height,
            width=width,
            fov=self._settings.stitch.fov,
            loaders={name: partial(_same, array) for name, array in maps.items()},
            scene=found["scene"],
            p_outdoor=found["p_outdoor"],
            log_scale=found["log_scale"],
            level=None if found["level_pitch"] is None else (found["level_pitch"], found["level_roll"]),
            reading=self._settings.read.decode,
            validity=partial(validity_of, found["valid"]),
        )
        return prediction, content


def run_convert(
    config: RunConfig, formats: Sequence[ExportSettings], *, device: str = "auto", overwrite: bool = False
) -> ConvertOutcome:
    """Convert every panorama of ``input.uris`` to files below ``output.uri``, a folder per format, or go on with it.

    Args:
        config: as for a job; what it says of clusters and of how maps are stored does not matter.
        formats: what to make; where pictures are read from is known.
        device: ``cpu``, ``cuda``, or ``auto`` for the GPU where there is one.
        overwrite: make anew what stands there.

    Raises:
        ConfigError: inputs, output or formats cannot be used.
        CheckpointError: the checkpoint cannot be used.
        StorageError: a file cannot be put.
    """
    began = time.monotonic()
    on_gpu = _on_gpu(device)
    if projects := [one.format for one in formats if find_format(one.format).is_project]:
        raise ConfigError(
            f"--to {projects[0]}: puts panoramas together by what a run knows of them; predict them with pager-ray "
            "run, then export that"
        )
    if config.scale.sequence != "off":
        raise ConfigError(
            f"scale.sequence: got {config.scale.sequence}, which takes the panoramas of a run; predict them with "
            "pager-ray run, then export that"
        )
    output = Folder(config.output.uri)
    if output.filesystem.isfile(output.path):
        raise ConfigError(f"convert: {output} is a file; the last place is the folder that files are put in")
    with span(StageName.LIST):
        # The folder may be that of the pictures: what an earlier start put there is none.
        listed = list_sources(config, results=[(output / name).uri() for name in FORMATS])
    checkpoint = resolve_checkpoint(config.checkpoint, revision=config.revision)
    settings = run_settings(config, checkpoint, listed, on_gpu=on_gpu)
    exports = {one.format: _with_unit(one, checkpoint) for one in formats}
    ids = [id for part in listed.parts(["id"]) for id in part.column("id").to_pylist()]
    records = {name: Records(output / name) for name in exports}
    identities = {name: _identity(config, checkpoint, one) for name, one in exports.items()}
    if not overwrite:
        _check_same(listed, records.values(), settings.read)
    for name, one in records.items():
        one.claim(identities[name], overwrite=overwrite)
    todo = {name: left_of(one, ids) for name, one in records.items()}
    _convert(listed, settings, exports, records, todo, len(ids))
    outcomes = {}
    for name, one in records.items():
        ended = finish(one, identities[name], ids, len(todo[name]))
        outcomes[name] = ExportOutcome(
            str(one.output), len(ids), ended.exported, ended.fresh, ended.bytes, 0.0, ended.rejects_by_class
        )
    return ConvertOutcome(str(output), outcomes, time.monotonic() - began)


def _convert(
    listed: Listing,
    settings: RunSettings,
    exports: Mapping[str, ExportSettings],
    records: Mapping[str, Records],
    todo: Mapping[str, Sequence[str]],
    total: int,
) -> None:
    """Every panorama that lacks a format, one after the other."""
    wanted = {name: {*ids} for name, ids in todo.items()}
    missing = set[str]().union(*wanted.values())
    if not missing:
        return
    log.info("%s of %s panoramas to convert", f"{len(missing):,}", f"{total:,}")
    converter = Converter(settings)
    rejected = 0
    for part in listed.parts():
        for row in part.to_pylist():
            if row["id"] not in missing:
                continue
            if (shown := watcher()) is not None:
                shown.look({"total": total, "predicted": total - len(missing) - rejected, "rejected": rejected})
            names = [name for name, ids in wanted.items() if row["id"] in ids]
            made = _make(converter, row, {name: exports[name] for name in names}, records, settings.read)
            for name, outcome in made.items():
                records[name].commit(pa.Table.from_pylist([outcome], EXPORT_SCHEMA))
            missing.discard(row["id"])
            rejected += any(outcome.get("error_class") for outcome in made.values())


def _make(
    converter: Converter,
    row: Row,
    exports: Mapping[str, ExportSettings],
    records: Mapping[str, Records],
    reading: ReadSettings,
) -> dict[str, Row]:
    """The rows of ``EXPORT_SCHEMA`` of one panorama, by format."""
    known = {"uri": row["uri"], "listed": _said(row)}
    try:
        # Before anything is read: what is replaced meanwhile has another one.
        stamp = None if row["error_class"] else stamp_of_row(row, reading)
        row |= {} if row["error_class"] else fetched_mask(row, reading)
        prediction, content = converter.predict(row)
        known["source"] = source_of(stamp, content, row.get(MASK_CONTENT))
        picture = picture_of(content, prediction) if any(one.shows_picture for one in exports.values()) else None
    except InputError as error:

        def refuse(_: Row, error: InputError = error) -> Any:
            raise error

        return {name: put_files(row["id"], records[name].output, refuse) | known for name in exports}

    def files(settings: ExportSettings, _: Row) -> Any:
        return export_files(prediction, _shown(picture, settings), settings)

    return {
        name: put_files(row["id"], records[name].output, partial(files, one)) | known for name, one in exports.items()
    }


def _check_same(listed: Listing, exports: Iterable[Records], reading: ReadSettings) -> None:
    """What stands was made of what is listed now.

    Raises:
        RunMismatchError: under some id is another picture, or another mask, pose or scene is said of it; or the file
            was replaced where it lies.
    """
    made: list[tuple[Records, dict[str, Row]]] = []
    for one in exports:
        if one.output.exists(EXPORT_FILE):
            rows = one.standing().to_pylist()
            made.append((one, {row["id"]: row for row in rows if row["error_class"] is None}))
    if not any(rows for _, rows in made):
        return
    with ThreadPoolExecutor(_LOOKING) as pool:
        for part in listed.parts():
            pairs = [(one, row, rows[row["id"]]) for row in part.to_pylist() for one, rows in made if row["id"] in rows]
            differences = pool.map(lambda pair: _difference(pair[1], pair[2], reading), pairs)
            for (one, row, _), difference in zip(pairs, differences, strict=True):
                if difference is not None:
                    raise RunMismatchError(
                        f"{one.output}: {row['id']} was made {difference}; choose another folder, or give --overwrite "
                        "to make its files anew"
                    )


def _difference(row: Row, was: Row, reading: ReadSettings) -> str | None:
    """What a panorama's files were made of, in words, where that is something else than what is listed now."""
    # Earlier versions kept local places as they were typed.
    if settled(was["uri"]) != settled(row["uri"]):
        return f"of {mask_uri(was['uri'])}, and it is {mask_uri(row['uri'])} now"
    if was.get("listed") not in (None, _said(row), _said(row | {"uri": was["uri"]})):
        return "with another mask, pitch, roll or scene than are named for it now"
    if was_replaced(row, was.get("source"), reading):
        return f"before {mask_uri(row['uri'])} was replaced{' or its mask was' if row.get('mask') else ''}"
    return None


def _said(row: Row) -> str:
    """A digest of what a listing says of a panorama that decides its files."""
    said = json.dumps({name: row[name] for name in _SAID if row[name] is not None}, sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:32]


def _shown(picture: UInt8[ndarray, "h w 3"] | None, settings: ExportSettings) -> UInt8[ndarray, "h w 3"] | None:
    return picture if settings.shows_picture else None


def _with_unit(settings: ExportSettings, checkpoint: ResolvedCheckpoint) -> ExportSettings:
    """The settings with the checkpoint's unit, once they are known to be possible."""
    modalities = tuple(checkpoint.architecture.modalities)
    # Pictures are the inputs themselves.
    check_possible(replace(settings, images_from=settings.images_from or "/"), modalities)
    return replace(settings, unit="metre" if is_metric(modalities) else "relative")


def _identity(config: RunConfig, checkpoint: ResolvedCheckpoint, settings: ExportSettings) -> dict[str, Any]:
    """What decides the files: how panoramas are read and predicted, and what is made of them."""
    stored = ("output.format", "output.codec", "output.rows_per_shard", "output.previews", "output.projection")
    keys = {key: value for key, value in config.result_keys().items() if key not in stored}
    return {**keys, **checkpoint_identity(checkpoint), **settings_identity(settings)}


def _on_gpu(device: str) -> bool:
    if device == "cpu":
        return False
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device: got cuda, and torch sees no GPU here; take cpu or auto")
    return torch.cuda.is_available()


def _same(array: ndarray) -> ndarray:
    return array
