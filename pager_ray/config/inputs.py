"""The keys of a job's inputs: where they lie, what is read of them, which of their pixels count, how they stand."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from pager_ray.config.section import Section, one_or_many
from pager_ray.limits import MAX_PANORAMA_PIXELS


class MaskConfig(Section):
    """Which pixels of a picture mean nothing, beside those that it does not have."""

    uris: Annotated[list[str], BeforeValidator(one_or_many)] = Field(
        default_factory=list,
        description="mask pictures, white for what is valid: folders, globs, listings and containers as in input.uris, "
        "in which a mask has its panorama's name and size (room/a.png or room/a.jpg.png for room/a.jpg); a single "
        "picture is the mask of all",
    )
    column: str | None = Field(
        None,
        description="component of WebDataset samples (mask.png), or column of Parquet files, that holds masks; with it "
        "input.mask.uris may be those of input.uris",
    )
    missing: Literal["ignore", "reject"] = Field(
        "ignore",
        description="what becomes of a panorama without a mask picture. ignore: it has none, and all that it shows is "
        "valid; reject: it is rejected",
    )
    nadir_degrees: float = Field(
        0.0,
        ge=0,
        lt=90,
        description="pixels less than this from the picture's lowest point (tripod, car) mean nothing: they are in no "
        "number, cloud, mesh or preview, and false in `valid`",
    )
    zenith_degrees: float = Field(0.0, ge=0, lt=90, description="the same for its highest point")


class VideoConfig(Section):
    """How 360° videos are read."""

    fps: float | None = Field(
        None, gt=0, le=1000, description="frames to take per second of a video, the nearest ones; by default 1"
    )
    every: int | None = Field(
        None, ge=1, description="instead of fps: take every so many-th frame, from the first on; 1 takes all"
    )
    projection: Literal["auto", "equirectangular"] = Field(
        "auto",
        description="what frames are. auto: what the video's spherical metadata say, and videos without any are "
        "refused; equirectangular: that, whatever they say",
    )
    stereo: Literal["auto", "mono", "top-bottom", "left-right"] = Field(
        "auto",
        description="whether frames hold the pictures of two eyes, of which the left one's is taken; auto: what the "
        "metadata say, and where there are none, one",
    )

    @model_validator(mode="after")
    def _one_says_which(self) -> VideoConfig:
        if self.fps is not None and self.every is not None:
            raise ValueError("takes fps or every, not both")
        return self

    def reading(self) -> dict[str, str]:
        """What the user says of frames: further arguments of :func:`pager_ray.read.frames.decode_frame`."""
        return {"projection": self.projection, "stereo": self.stereo}


class InputConfig(Section):
    """What to read."""

    uris: Annotated[list[str], BeforeValidator(one_or_many)] = Field(
        default_factory=list,
        description="files, folders, globs, {000..146} and {a,b} patterns, containers (tars of WebDataset and "
        "img2dataset, zips, Parquet files of images, hf://datasets/…), 360° videos (.mp4, .mov), or .parquet/.csv/.txt "
        "listings with a `uri` "
        "column (optional `id`, `scene`), on any fsspec URL",
    )
    format: Literal["auto", "files", "listing", "webdataset", "zip", "parquet", "cubemap", "video"] = Field(
        "auto",
        description="what sources are taken for. auto: by name and content; of a folder the images, or where it has "
        "none of its own, what lies in its containers; six images that are called like the faces of a cubemap are one "
        "input. files: images alone, one by one; listing: tables of URIs; webdataset, zip, parquet, video: containers "
        "of that kind alone; cubemap: the faces of cubemaps alone, in folders and containers",
    )
    image_column: str | None = Field(
        None,
        description="column of Parquet files that holds the images, or component of WebDataset samples (jpg, "
        "left.png); by default found by type and name",
    )
    id_column: str | None = Field(
        None,
        description="column of a listing, a container or a metadata file (key of a sample's JSON) that holds each "
        "image's id; by default ids come from names, keys and rows",
    )
    scene_column: str | None = Field(
        None, description="the same for the scene, indoor or outdoor; by default a column `scene`, where it says that"
    )
    sequence_column: str | None = Field(
        None,
        description="the same for the sequence that an image is of; by default `sequence`, `sequence_id` or what "
        "exports of Mapillary and Panoramax have",
    )
    time_column: str | None = Field(
        None,
        description="the same for when it was taken: seconds, or ISO 8601; by default `time`, `captured_at`, "
        "`datetime` or what exports of Mapillary and Panoramax have",
    )
    keep_columns: Annotated[list[str], BeforeValidator(one_or_many)] = Field(
        default_factory=list,
        description="further columns of listings and containers (latitude, camera, …) that come out again "
        "beside the results; at most 4096 bytes a row",
    )
    max_row_group_bytes: int = Field(
        2**31,
        ge=1024,
        description="a Parquet row group is read at once: the rows of one whose images take more are rejected; a "
        "worker needs about three times as much",
    )
    max_pixels: int = Field(
        2**28,
        ge=2048,
        le=MAX_PANORAMA_PIXELS,
        description="larger images (width × height, before decoding) are rejected; bounds the memory of a decode "
        "at 3 (JPEG) to 16 (WebP) bytes per pixel",
    )
    schemes: Annotated[list[str], BeforeValidator(one_or_many)] = Field(
        default_factory=list,
        description="further URL schemes that inputs may have, such as sftp, beside local paths, http(s) and the "
        "object stores; those that interpret what they fetch (reference, git, …) let a listing's author run code here",
    )
    private: Literal["auto", "allow", "refuse"] = Field(
        "auto",
        description="whether rows of listings may name local files, and web addresses of this machine, this link or a "
        "private network. auto: not those of a listing that came over a network",
    )
    aspect_tolerance: float = Field(
        0.01,
        ge=0,
        le=0.05,
        description="how far from 2:1 a panorama may be, as a share: encoders want multiples of 8, stitchers cut a "
        "row. It is stretched by no more than that, which the column `stretch` tells; 0: one pixel of rounding alone",
    )
    gpano: Literal["auto", "ignore", "require"] = Field(
        "auto",
        description="what GPano metadata (the part of a sphere that a picture is) count for. auto: they place it, "
        "unless they cannot be of a picture that is 2:1 by itself (stale, doubled, empty); ignore: 2:1 alone counts; "
        "require: pictures without them are rejected",
    )
    video: VideoConfig = VideoConfig()
    exposure: Annotated[float, Field(ge=-64, le=64)] | Literal["auto"] = Field(
        "auto",
        description="how bright Radiance (.hdr) and OpenEXR files are taken. auto: the mean of their light becomes "
        "middle grey; a number: so many stops (factors of 2) above what is stored. Then they are tone-mapped, and sRGB",
    )
    upright: Literal["off", "gpano", "columns"] = Field(
        "off",
        description="level tilted panoramas for the network, by pitch and roll in degrees; results are turned back to "
        "the picture's own pixels. gpano: those of its GPano metadata; columns: columns `pitch_degrees` and "
        "`roll_degrees` of listings and containers, with GPano's signs. It costs CPUs a tenth more for what is tilted",
    )
    max_bytes: int = Field(
        2**30, ge=1024, description="larger files are rejected without being read whole; bounds the memory of a read"
    )
    mask: MaskConfig = MaskConfig()

    @field_validator("keep_columns")
    @classmethod
    def _kept_is_a_set(cls, value: list[str]) -> list[str]:
        if not all(value) or len(set(value)) < len(value):
            raise ValueError("takes different names of columns")
        return value

    @model_validator(mode="before")
    @classmethod
    def _off_is_a_word(cls, values: Any) -> Any:
        # YAML reads it as false.
        return values | {"upright": "off"} if isinstance(values, dict) and values.get("upright") is False else values

    @model_validator(mode="after")
    def _metadata_that_level_are_read(self) -> InputConfig:
        if self.upright == "gpano" and self.gpano == "ignore":
            raise ValueError("upright: gpano takes GPano metadata that are read, and input.gpano is ignore")
        return self

    def reading(self) -> dict[str, Any]:
        """How a picture becomes a panorama: further arguments of :func:`pager_ray.read.decode_panorama`."""
        return {"aspect_tolerance": self.aspect_tolerance, "gpano": self.gpano, "exposure": self.exposure} | {
            "video": self.video.reading()
        }
