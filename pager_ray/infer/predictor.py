"""From uint8 cube faces to Euclidean depth, normals and sky on the faces.

Normalisation, routing, the network, range, scale, ray length and sky all run on the model's device; what leaves it is
what the stitch needs and a few numbers per panorama.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch

from pager_ray.errors import ConfigError, ShapeError
from pager_ray.infer.batching import FittingBatches, is_out_of_memory
from pager_ray.infer.projection import DeviceProjection, to_device
from pager_ray.infer.quality import FINITE, QUANTILES, quality_numbers
from pager_ray.infer.settings import InferenceSettings, Validities
from pager_ray.modalities import MAPS
from pager_ray.model.acceleration import Acceleration
from pager_ray.model.serving import flags_on
from pager_ray.model.token_router import OUTDOOR_FROM
from pager_ray.postprocess import euclidean_depth, fill_sky, prepare_tables, scale_of_valid
from pager_ray.prediction import QUALITY_COLUMNS

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt8
    from torch import Tensor

    from pager_ray.model import PagerModel

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Router(Protocol):
    """What decides the scene of panoramas that nobody has labelled."""

    def p_outdoor(self, faces: Tensor) -> Tensor:
        """Probability of outdoor, (B,), from faces (B, 6, 3, S, S)."""


@dataclass(frozen=True)
class FacePrediction:
    """One panorama's geometry on its six faces (F, R, B, L, U, D); what the checkpoint does not give is None.

    Attributes:
        depth: (6, S, S) float32, metres along the ray (Euclidean); metric where ``log_scale`` is given.
        normals: (6, S, S, 3) float16 or float32 as the model's precision, as predicted (not unit length);
            x forward (ERP centre), y up, z right.
        sky: (6, S, S) float32 probability.
        scene: ``indoor`` or ``outdoor``: the head that gave the scale, or what the listing said.
        p_outdoor: the router's probability; None where it was not asked.
        log_scale: natural logarithm of metric over scale-invariant depth.
        quality: a number or None for each of ``QUALITY_COLUMNS``.
        is_finite: whether the network's whole output is numbers; NaN and infinity mean nothing, wherever they are.
    """

    depth: Float[np.ndarray, "6 s s"] | None
    normals: Float[np.ndarray, "6 s s 3"] | None
    sky: Float[np.ndarray, "6 s s"] | None
    scene: str | None
    p_outdoor: float | None
    log_scale: float | None
    quality: dict[str, float | None]
    is_finite: bool


class Predicts(Protocol):
    """A :class:`Predictor`, or what stands in for one."""

    def __call__(
        self, faces: np.ndarray, scenes: Sequence[str | None], valid: Sequence[np.ndarray | None] | None = None
    ) -> list[FacePrediction]:
        """Predict a batch of faces (B, 6, S, S, 3) uint8, of which some pixels (6, S, S) bool may not be valid."""


class Predictor:
    """A loaded model with its router, ready for batches of faces.

    Args:
        model: from :func:`pager_ray.load_model`.
        router: needed only for rows without a scene and a model that has two scale heads and no router of its own,
            which another one takes the place of.
    """

    def __init__(self, model: PagerModel, settings: InferenceSettings, router: Router | None = None) -> None:
        self.model = model
        self.settings = settings
        self.router = router
        mean = torch.tensor(IMAGENET_MEAN, device=model.device).view(1, 1, 3, 1, 1)
        std = torch.tensor(IMAGENET_STD, device=model.device).view(1, 1, 3, 1, 1)
        self._gain, self._offset = 1 / (255 * std), -mean / std
        self._quantiles = torch.tensor(QUANTILES, device=model.device)
        self._copies: torch.cuda.Stream | None = None
        self._batches: FittingBatches[Any] | None = None
        architecture = model.architecture
        self._projection = DeviceProjection(architecture.face_size, architecture.cube_fov, model.device)
        prepare_tables(architecture.face_size, architecture.cube_fov, model.device)
        # On a CPU there is nothing to wait for, and one scale head per panorama is less work than two.
        self._routes_on_device = model.device.type != "cpu"

    def __call__(
        self, faces: UInt8[np.ndarray, "b 6 s s 3"], scenes: Sequence[str | None], valid: Validities = None
    ) -> list[FacePrediction]:
        """Predict a batch; ``scenes`` holds what is known of each row.

        Args:
            faces: of the batch.
            scenes: what is known of each row's.
            valid: per row which pixels of its faces mean something, (6, S, S) bool, or None for all; None for all rows.
                The others are left out of every number, the scale included; maps have them as they were predicted.

        Raises:
            ShapeError: the faces are not uint8 (B, 6, S, S, 3) with the model's face size, or scenes or masks not B.
        """
        return self.submit(faces, scenes, valid).result()

    @torch.inference_mode()
    def submit(
        self, faces: UInt8[np.ndarray, "b 6 s s 3"], scenes: Sequence[str | None], valid: Validities = None
    ) -> Pending:
        """Put a batch on the device and return at once, while it is at work; ``faces`` may be reused then.

        On a GPU the results travel to the host beside the next batch's work. On a CPU the work is done on return.

        Raises:
            ShapeError: as for a call.
        """
        size = self.model.architecture.face_size
        if faces.dtype != np.uint8 or faces.ndim != 5 or faces.shape[1:] != (6, size, size, 3):
            raise ShapeError(f"faces: got {faces.dtype} {faces.shape}, takes uint8 (B, 6, {size}, {size}, 3)")
        self._check_scenes(len(faces), scenes)
        watch = _Watch(self.model.device)
        return self._run(self._upload(faces).permute(0, 1, 4, 2, 3), scenes, watch, valid)

    @torch.inference_mode()
    def submit_panoramas(
        self, panoramas: Sequence[UInt8[np.ndarray, "h w 3"]], scenes: Sequence[str | None], valid: Validities = None
    ) -> Pending:
        """As :meth:`submit`, for whole panoramas: their faces are sampled on the device and not rounded to uint8.

        Panoramas may differ in size. Reduce those wider than about 8·S pixels before: nothing is antialiased.

        Raises:
            ShapeError: no panorama, one that is not uint8 (H, W, 3), or not as many scenes.
        """
        if not len(panoramas):
            raise ShapeError("panoramas: got none, takes at least one")
        self._check_scenes(len(panoramas), scenes)
        watch = _Watch(self.model.device)
        return self._run(torch.stack([self._projection(erp) for erp in panoramas]), scenes, watch, valid)

    def prepare(self, asked: str, batches: FittingBatches[Any]) -> Acceleration:
        """Choose the way of running, and have the first batch's work done before there is one.

        On CUDA, and where the network is compiled, a batch of nothing goes all the way: kernels are chosen, graphs are
        recorded, pinned memory is there. A batch that does not fit is halved, as :class:`FittingBatches` does it.

        Args:
            asked: as :meth:`PagerModel.accelerate` takes it.
            batches: what later batches are made with; their size is the one that graphs are made for.

        Returns:
            What was taken. Where ``auto`` took graphs and this machine cannot record them, it takes ``eager``.

        Raises:
            ConfigError: what was asked for cannot be had.
        """
        taken = self.model.accelerate(asked, batches.size)
        self._batches = batches
        if taken.way == "eager" and self.model.device.type != "cuda":
            return taken
        try:
            batches.run(batches.size, self._rehearse)
        except RuntimeError as error:
            if is_out_of_memory(error) or taken.way == "eager":
                raise
            why = " ".join(str(error).split())[:200] or type(error).__name__
            if asked != "auto":
                raise ConfigError(f"compute.acceleration: {asked} cannot be had ({why}); take auto or eager") from error
            self.model.accelerate("eager")
            return Acceleration("eager", f"auto: {taken.way} failed here: {why}")
        return taken

    def _rehearse(self, start: int, stop: int) -> list[FacePrediction]:
        size, rows = self.model.architecture.face_size, stop - start
        scene = None if self.router is not None else "indoor"
        return self(np.zeros((rows, 6, size, size, 3), np.uint8), [scene] * rows)

    def _check_scenes(self, rows: int, scenes: Sequence[str | None]) -> None:
        if len(scenes) != rows:
            raise ShapeError(f"scenes: got {len(scenes)} for {rows} rows of faces; give one, or None, per row")

    def _run(self, pixels: Tensor, scenes: Sequence[str | None], watch: _Watch, masks: Validities) -> Pending:
        """From pixels (B, 6, 3, S, S) on the device, levels 0…255, to results on their way."""
        valid = self._upload_masks(masks, len(pixels))
        if self._batches is not None:
            # Halved after a lack of memory, or grown again: graphs are for what is tried now.
            self.model.use_batch(self._batches.size)
        route = self._route(pixels, scenes)
        normalised = torch.addcmul(self._offset, pixels.float(), self._gain)
        raw = self.model(normalised, scene=route.scenes, outdoor=route.outdoor)
        if valid is not None and "log_scale" in raw:
            raw = raw | {"log_scale": scale_of_valid(raw, valid, self.model.architecture.log_depth)}
        p_outdoor = raw.pop("p_outdoor", route.p_outdoor)
        maps, columns = self._collect(raw, p_outdoor, valid)
        watch.stop()
        names = list(columns)
        maps["numbers"] = torch.stack([columns[name].float() for name in names], dim=1)
        return Pending(self._download(maps), names, list(route.known), watch, masked=valid is not None)

    def _upload(self, faces: UInt8[np.ndarray, "b 6 s s 3"]) -> UInt8[Tensor, "b 6 s s 3"]:
        return to_device(torch.from_numpy(faces), self.model.device)

    def _upload_masks(self, masks: Validities, rows: int) -> Bool[Tensor, "b 6 s s"] | None:
        """The masks on the device; None where every pixel is valid."""
        if masks is None:
            return None
        size = self.model.architecture.face_size
        if len(masks) != rows:
            raise ShapeError(f"valid: got {len(masks)} for {rows} rows of faces; give one, or None, per row")
        together = np.ones((rows, 6, size, size), bool)
        for mask, given in zip(together, masks, strict=True):
            if given is not None:
                if given.dtype != np.bool_ or given.shape != mask.shape:
                    raise ShapeError(f"valid: got {given.dtype} {given.shape}, takes bool (6, {size}, {size})")
                mask[:] = given
        return to_device(torch.from_numpy(together), self.model.device)

    def _download(self, maps: dict[str, Tensor]) -> _Arriving:
        if self.model.device.type != "cuda":
            return _Arriving(maps, None)
        if self._copies is None:
            self._copies = torch.cuda.Stream(self.model.device)
        self._copies.wait_stream(torch.cuda.current_stream(self.model.device))
        arriving = {}
        with torch.cuda.stream(self._copies):
            for name, values in maps.items():
                host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
                arriving[name] = host.copy_(values, non_blocking=True)
                # Until the copy is done nobody else may get this memory.
                values.record_stream(self._copies)
            done = torch.cuda.Event()
            done.record(self._copies)
        return _Arriving(arriving, done)

    def _route(self, pixels: Tensor, scenes: Sequence[str | None]) -> _Route:
        known: list[str | None] = list(scenes)
        if not self.model.has_two_scales:
            return _Route(known, None, None, None)
        if self.settings.scene_mode != "auto":
            known = [self.settings.scene_mode] * len(scenes)
        if all(known):
            return _Route(known, known, None, None)
        if self.router is None and self.model.routes_itself:
            return _Route(known, known, None, None)
        if self.router is None:
            raise ShapeError("rows without a scene need a router; force scene_mode or give every row a scene")
        probability = self.router.p_outdoor(pixels if pixels.dtype == torch.uint8 else pixels / 255)
        if not self._routes_on_device:
            found = [_scene(p) for p in probability.tolist()]
            return _Route(known, [a or b for a, b in zip(known, found, strict=True)], None, probability)
        says = flags_on(probability.device, [scene == "outdoor" for scene in known])
        is_known = flags_on(probability.device, [scene is not None for scene in known])
        return _Route(known, None, torch.where(is_known, says, probability >= OUTDOOR_FROM), probability)

    def _collect(
        self, raw: dict[str, Tensor], p_outdoor: Tensor | None, valid: Bool[Tensor, "b 6 s s"] | None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The maps as they leave the device, and the numbers, one column each."""
        architecture, settings = self.model.architecture, self.settings
        log_scale = raw.get("log_scale")
        logits, normals, depth = raw.get("sky"), raw.get("normals"), None
        if "depth" in raw:
            log_z = raw["depth"].float() if architecture.log_depth else raw["depth"].float().log()
            depth = euclidean_depth(log_z, log_scale, architecture.cube_fov, settings.depth_range)
        columns = quality_numbers(raw, depth, valid, settings, architecture.log_depth, self._quantiles)
        if log_scale is not None:
            columns["log_scale"] = log_scale[:, 0]
        if p_outdoor is not None:
            columns["p_outdoor"] = p_outdoor
        if settings.fill and logits is not None and depth is not None:
            depth, normals = fill_sky(depth, normals, logits, log_scale, settings.sky, settings.depth_range, valid)

        half = self.model.precision != "float32"
        maps = {}
        if depth is not None:
            maps["depth"] = depth[:, :, 0]
        if normals is not None:
            channels_last = normals.permute(0, 1, 3, 4, 2)
            maps["normals"] = (channels_last.half() if half else channels_last.float()).contiguous()
        if logits is not None:
            maps["sky"] = logits[:, :, 0].float().sigmoid()
        return maps, columns


@dataclass(frozen=True)
class _Route:
    """``known``: what is known of each row's scene; ``scenes`` or ``outdoor``: what the model is told."""

    known: list[str | None]
    scenes: list[str | None] | None
    outdoor: Tensor | None
    p_outdoor: Tensor | None


@dataclass(frozen=True)
class _Arriving:
    """Tensors on the host, whole once ``done`` has come to pass."""

    tensors: dict[str, Tensor]
    done: torch.cuda.Event | None


class _Watch:
    """How long the device works, from here to :meth:`stop`."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._events: tuple[torch.cuda.Event, torch.cuda.Event] | None = None
        if device.type == "cuda":
            self._events = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            self._events[0].record(torch.cuda.current_stream(device))
        self._began = self._ended = time.perf_counter()

    def stop(self) -> None:
        if self._events is not None:
            self._events[1].record(torch.cuda.current_stream(self._device))
        self._ended = time.perf_counter()

    def seconds(self) -> float:
        if self._events is not None:
            return self._events[0].elapsed_time(self._events[1]) / 1e3
        return self._ended - self._began


class Pending:
    """A batch that is on the device; from :meth:`Predictor.submit`."""

    def __init__(
        self, arriving: _Arriving, names: list[str], known: list[str | None], watch: _Watch, *, masked: bool = False
    ) -> None:
        self._arriving = arriving
        self._masked = masked
        self._names = names
        self._known = known
        self._watch = watch

    def wait(self) -> None:
        """Wait until it is done."""
        if self._arriving.done is not None:
            self._arriving.done.synchronize()

    def result(self) -> list[FacePrediction]:
        """Wait until it is done and give one prediction per row; any thread may."""
        self.wait()
        arrays = {name: tensor.numpy() for name, tensor in self._arriving.tensors.items()}
        numbers = [dict(zip(self._names, row, strict=True)) for row in arrays.pop("numbers").tolist()]
        if self._masked:
            # Numbers of panoramas whose faces show nothing valid.
            numbers = [{name: value for name, value in row.items() if not math.isnan(value)} for row in numbers]
        return [_prediction(arrays, row, known, numbers[row]) for row, known in enumerate(self._known)]

    @property
    def seconds(self) -> float:
        """How long the device was at work; once the result is there."""
        return self._watch.seconds()


def _prediction(
    arrays: dict[str, np.ndarray], row: int, known: str | None, numbers: dict[str, float]
) -> FacePrediction:
    p_outdoor = numbers.get("p_outdoor") if known is None else None
    if p_outdoor is None:
        # Both heads ran for its neighbours' sake: what a row gets does not depend on them.
        numbers.pop("scale_disagreement", None)
    return FacePrediction(
        **{name: arrays[name][row] if name in arrays else None for name in MAPS},
        scene=known if p_outdoor is None else _scene(p_outdoor),
        p_outdoor=p_outdoor,
        log_scale=numbers.get("log_scale"),
        quality={name: numbers.get(name) for name in QUALITY_COLUMNS},
        is_finite=bool(numbers[FINITE]),
    )


def _scene(p_outdoor: float) -> str:
    return "outdoor" if p_outdoor >= OUTDOOR_FROM else "indoor"
