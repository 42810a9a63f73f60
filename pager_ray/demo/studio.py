"""One panorama and a mode → a run of one panorama, kept: what the page shows and gives away comes from there.

```
<cache>/secret                      what keys are made with, so that nobody knows another visitor's
<cache>/sources/<digest>/<name>     pictures as they were given, as long as a result needs them
<cache>/results/<key>/              a run, its gallery/ and exports/; the key is of picture, visitor, mode and model
```
"""

from __future__ import annotations

import hashlib
import hmac
import io
import os
import secrets
import shutil
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast, get_args

from pager_ray.config import RunConfig, load_config
from pager_ray.errors import ConfigError, InputError, RunNotFoundError, StorageError
from pager_ray.export.formats import FORMATS, Color, ExportSettings, Files, check_possible, export_files, find_format
from pager_ray.export.selection import with_unit
from pager_ray.gallery import build_gallery
from pager_ray.here import run_here
from pager_ray.infer import Predictor
from pager_ray.infer.routing import load_router, needs_clip
from pager_ray.model import load_model, resolve_checkpoint
from pager_ray.plain import get_logger
from pager_ray.reader import open_run
from pager_ray.reader.picture import source_picture
from pager_ray.samples import write_samples
from pager_ray.stages.names import StageName
from pager_ray.stages.settings import inference_settings
from pager_ray.storage import safe_name

log = get_logger(__name__)

MODES: Final = ("auto", "indoor", "outdoor")
COLORS: Final = get_args(Color)

MAX_BYTES: Final = 256 << 20
MAX_PIXELS: Final = 1 << 27
"""A panorama of 16384×8192: stitched maps of a larger one would not fit a small machine's memory."""

STEPS: Final = {
    StageName.LIST: "Looking at the file",
    StageName.READ: "Decoding, cutting six faces",
    StageName.INFER: "The network is at work",
    StageName.STITCH: "Stitching and encoding",
    StageName.WRITE: "Writing",
    "gallery": "Making the views",
}

EXAMPLES: Final = 4
_SECRET_BYTES: Final = 32


@dataclass(frozen=True)
class Model:
    """Which network, and how it runs; the words of :func:`pager_ray.load_model`."""

    checkpoint: str = "embedded"
    revision: str | None = None
    device: str = "auto"
    precision: str = "auto"
    router_weights: str | None = None


@dataclass(frozen=True)
class Result:
    """A finished panorama.

    Attributes:
        folder: the run's output.
        id: its only prediction.
        cached: whether it was there already.
        maps: those that the checkpoint gives.
    """

    folder: Path
    id: str
    cached: bool
    maps: tuple[str, ...]

    @property
    def key(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def preview(self) -> Path:
        """A JPEG of picture, depth with its legend, normals and sky."""
        return self.folder / "previews" / f"{safe_name(self.id)}.jpg"

    def facts(self) -> dict[str, Any]:
        """The row of the run's table: sizes, scene, scale, quality numbers."""
        return open_run(self.folder).table().to_pylist()[0]

    def formats(self) -> list[str]:
        """Names of the formats that this panorama can be had in."""
        shown = {name: format for name, format in FORMATS.items() if not format.is_project}
        return [name for name, format in shown.items() if set(format.needs) <= set(self.maps)]


class Studio:
    """Holds one model and a folder of results; used by one thread at a time for predictions, by any for the rest.

    Args:
        model: the network.
        cache: folder for pictures and results; made when it is missing.
        keep: results that are kept; the ones that were not asked for the longest go first.

    Raises:
        CheckpointError: the checkpoint cannot be used.
        StorageError: the folder cannot be used.
    """

    def __init__(self, model: Model, cache: Path, keep: int = 50) -> None:
        self.cache, self.keep = cache, keep
        self._results, self._sources = cache / "results", cache / "sources"
        for folder in (self._results, self._sources):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(f"--cache: {folder} cannot be made ({error.strerror}); choose another") from error
        self._secret = _kept_secret(cache / "secret")
        self._settings = model
        self._checkpoint = resolve_checkpoint(model.checkpoint, revision=model.revision)
        self._model = load_model(
            self._checkpoint.source,
            device=model.device,
            precision=model.precision,
            revision=self._checkpoint.revision,
            sha256=self._checkpoint.sha256,
        )
        self._router: Any = None
        self._turn = threading.Lock()

    @property
    def name(self) -> str:
        """What the checkpoint is called, and what it says it is."""
        return self._checkpoint.title

    @property
    def has_two_scales(self) -> bool:
        """Whether the mode decides anything: which of two scale heads runs."""
        return self._model.has_two_scales

    @property
    def results(self) -> Path:
        """Folder of the results."""
        return self._results

    def examples(self) -> list[Path]:
        """A few rendered panoramas, made at the first call and kept."""
        folder = self.cache / "examples"
        if not (folder / "samples.csv").exists():
            write_samples(folder, EXAMPLES, height=512, ground_truth=False)
        return sorted(folder.glob("*.jpg"))

    def find(self, key: str) -> Result:
        """The result under a key, as a page remembers it.

        Raises:
            RunNotFoundError: it is gone.
        """
        known = {folder.name: folder for folder in self._results.iterdir()}
        if key not in known:
            raise RunNotFoundError("this result is not kept any more; run the panorama again")
        run = open_run(known[key])
        return Result(known[key], run.ids()[0], True, run.maps)

    def result(
        self, picture: Path, mode: str, tell: Callable[[str], None] = lambda step: None, *, visitor: str = ""
    ) -> Result:
        """Predict a panorama, or find what was predicted for the same visitor.

        Args:
            picture: an image file; its content counts, its name is kept for the files that are made of it.
            mode: which scale head runs; ``auto`` lets the router decide where there are two.
            tell: called with a key of :data:`STEPS` as each begins.
            visitor: whose it is; a result, and whether there is one, is nobody else's business.

        Raises:
            InputError: it is no panorama that can be used; the message says why.
            ConfigError: there is no such mode.
            PagerError: something else failed.
        """
        if mode not in MODES:
            raise ConfigError(f"mode: got {mode!r}; takes {', '.join(MODES)}")
        source, digest = self._take(picture, visitor)
        folder = self._results / self._key(digest, mode)
        with self._turn:
            cached = self._is_whole(folder)
            if not cached:
                self._make(source, folder, mode, tell)
            # Not by the file system's own clock, which stands still for milliseconds.
            os.utime(folder, ns=(time.time_ns(), time.time_ns()))
            self._drop_old(folder)
        run = open_run(folder)
        return Result(folder, run.ids()[0], cached, run.maps)

    def export(self, result: Result, format: str, color: str = "rgb") -> Path:
        """A result's file in a format of :mod:`pager_ray.export`; several files become one archive. Kept.

        Raises:
            ConfigError: no such format or colour, or the format's library is not installed.
            InputError: this panorama cannot be had in it.
        """
        find_format(format)
        if color not in COLORS:
            raise ConfigError(f"color: got {color!r}; takes {', '.join(COLORS)}")
        folder = result.folder / "exports" / f"{format}-{color}"
        with self._turn:
            if not folder.exists():
                files = self._files(result, format, color)
                temporary = folder.with_suffix(".tmp")
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir(parents=True)
                name, content = _one_file(result.id, format, files)
                (temporary / name).write_bytes(content)
                temporary.rename(folder)
        return next(folder.iterdir())

    def _files(self, result: Result, format: str, color: str) -> Files:
        run = open_run(result.folder)
        settings = with_unit(ExportSettings(format, cast(Color, color), images_from=str(self._sources)), run)
        check_possible(settings, tuple(run.manifest["checkpoint"]["modalities"]))
        prediction = run[result.id]
        picture = source_picture(prediction, str(self._sources)) if settings.shows_picture else None
        return export_files(prediction, picture, settings)

    def _take(self, picture: Path, visitor: str) -> tuple[Path, str]:
        """A copy of the picture that stays, and a digest of it that is this visitor's."""
        try:
            if picture.stat().st_size > MAX_BYTES:
                raise InputError(
                    "too_large", f"{picture.name}: has more than {MAX_BYTES >> 20} MiB; give a smaller file"
                )
            content = picture.read_bytes()
        except OSError as error:
            raise InputError("missing", f"{picture.name}: cannot be read ({error.strerror}); give it again") from error
        of_visitor = hashlib.sha256(visitor.encode("utf-8", "surrogatepass")).digest()
        digest = hmac.new(self._secret, of_visitor + content, hashlib.sha256).hexdigest()[:32]
        folder = self._sources / digest
        # The name that it was first given under: a result that was begun is of that file.
        known = sorted(path for path in folder.glob("*") if not path.name.startswith("."))
        source = known[0] if known else folder / safe_name(picture.name)
        if not known:
            folder.mkdir(exist_ok=True)
            temporary = folder / f".{threading.get_ident()}.tmp"
            temporary.write_bytes(content)
            temporary.replace(source)
        return source, digest

    def _key(self, digest: str, mode: str) -> str:
        # The mode of a checkpoint with less than two scale heads changes nothing.
        scene = mode if self._model.has_two_scales else "auto"
        model = f"{self._checkpoint.sha256} {self._model.precision} {self._model.device.type}"
        return f"{digest}-{scene}-{hashlib.sha256(model.encode()).hexdigest()[:12]}"

    @staticmethod
    def _is_whole(folder: Path) -> bool:
        """Whether a result stands there to its last file: the gallery's page is written last."""
        return (folder / "gallery" / "index.html").exists()

    def _make(self, source: Path, folder: Path, mode: str, tell: Callable[[str], None]) -> None:
        config = self._config(source, folder, mode)
        predictor = Predictor(self._model, inference_settings(config), self._router_for(config))
        done = run_here(config, self._checkpoint, predictor, on_gpu=self._model.device.type == "cuda", tell=tell)
        if done.rejects:
            reject = open_run(folder).rejects().to_pylist()[0]
            shutil.rmtree(folder)
            raise InputError(reject["error_class"], reject["message"].replace(f"{source}: ", f"{source.name}: "))
        tell("gallery")
        build_gallery(str(folder), workers=1, overwrite=True, images_from=str(self._sources), places=False)

    def _config(self, source: Path, folder: Path, mode: str) -> RunConfig:
        given: dict[str, Any] = {
            "input.uris": [str(source)],
            "input.max_bytes": MAX_BYTES,
            "input.max_pixels": MAX_PIXELS,
            "output.uri": str(folder),
            "output.previews": "true",
            "checkpoint": self._settings.checkpoint,
            "precision": self._settings.precision,
            "scene_mode": mode if self._model.has_two_scales else "auto",
        }
        return load_config(None, [f"{key}={value}" for key, value in given.items()])

    def _router_for(self, config: RunConfig) -> Any:
        if config.scene_mode != "auto" or not needs_clip(self._model.architecture, self._settings.router_weights):
            return None
        if self._router is None:
            self._router = load_router(self._model, self._settings.router_weights)
        return self._router

    def _drop_old(self, latest: Path) -> None:
        """Delete the results beyond ``keep`` that were not asked for the longest, and pictures of none."""
        results = sorted(self._results.iterdir(), key=lambda folder: folder.stat().st_mtime, reverse=True)
        for folder in results[self.keep :]:
            if folder != latest:
                log.info("the result %s goes: %d are kept", folder.name, self.keep)
                shutil.rmtree(folder)
        wanted = {folder.name.partition("-")[0] for folder in self._results.iterdir()}
        for folder in self._sources.iterdir():
            if folder.name not in wanted:
                shutil.rmtree(folder)


def _kept_secret(path: Path) -> bytes:
    """Random bytes that are the same at the next start, readable by their owner alone."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = path.read_bytes()
        if len(secret) == _SECRET_BYTES:
            return secret
        raise StorageError(f"--cache: {path} is not what a demo left there; remove it, or choose another") from None
    except OSError as error:
        raise StorageError(f"--cache: {path} cannot be made ({error.strerror}); choose another") from error
    secret = secrets.token_bytes(_SECRET_BYTES)
    with open(descriptor, "wb") as file:
        file.write(secret)
    return secret


def _one_file(id: str, format: str, files: Files) -> tuple[str, bytes | bytearray]:
    """Several files as one archive."""
    if len(files) == 1:
        ((name, content),) = files.items()
        return name.rpartition("/")[2], content
    archive = io.BytesIO()
    # What is in it is compressed already, or is npz in the released layout, which is not.
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return f"{safe_name(id)}-{format}.zip", archive.getvalue()
