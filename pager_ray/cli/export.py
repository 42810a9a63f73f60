"""``pager-ray export``: predictions in the files of other programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from pager_ray.cli.options import Finite, all_of, tell
from pager_ray.report.display import shown

if TYPE_CHECKING:
    from pager_ray.export.formats import ExportSettings

FORMAT_NAMES = (
    "glb",
    "ply",
    "laz",
    "splats",
    "mesh",
    "depth-exr",
    "depth-png",
    "normals-exr",
    "normals-png",
    "sky-png",
    "npz",
    "faces",
    "nerfstudio",
    "colmap",
    "rerun",
)
"""Those of :data:`pager_ray.export.formats.FORMATS`, known without loading them."""

MAKING = (
    click.option(
        "--color",
        type=click.Choice(["rgb", "normals"]),
        default="rgb",
        show_default=True,
        help="What points and faces show: the source picture, or the normals.",
    ),
    click.option(
        "--max-points",
        type=click.IntRange(0),
        default=1_000_000,
        show_default=True,
        help="Per point cloud, thinned evenly over the sphere; 0 keeps all.",
    ),
    click.option(
        "--max-triangles",
        type=click.IntRange(0),
        default=500_000,
        show_default=True,
        help="Per mesh; 0 keeps every pixel.",
    ),
    click.option(
        "--axes",
        type=click.Choice(["y-up", "z-up", "y-down"]),
        help="Which way the axes point; by default as the format's programs expect.",
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Decides which points stay."),
    click.option(
        "--sky-threshold",
        type=Finite(0, 1),
        default=0.3,
        show_default=True,
        help="Points with a larger probability of sky are dropped; 1 keeps them.",
    ),
    click.option("--keep-edges", is_flag=True, help="Keep points on depth edges."),
    click.option("--keep-saturated", is_flag=True, help="Keep points at the end of the depth range."),
    click.option("--keep-clusters", is_flag=True, help="Keep isolated far clusters."),
    click.option(
        "--face-size", type=click.IntRange(8, 8192), default=504, show_default=True, help="Pixels per side of a face."
    ),
)
"""What decides the files of a panorama."""

_OPTIONS = (
    click.option("--to", "format_name", required=True, metavar="FORMAT", help=f"One of {', '.join(FORMAT_NAMES)}."),
    click.option("--ids", multiple=True, metavar="ID,…|@FILE", help="Panoramas to export; may be repeated."),
    click.option("--where", metavar="CONDITION", help='On the run\'s columns, such as "sky_fraction < 0.2".'),
    click.option(
        "--images-from",
        metavar="URI",
        help="Folder, or https://HOST, that source pictures are read from; the run says where below it they lie.",
    ),
    click.option("--output", metavar="URI", help="Folder for the files; by default exports/FORMAT inside OUTPUT."),
    click.option("--overwrite", is_flag=True, help="Make files anew that an earlier export left there."),
    click.option("--local", is_flag=True, help="Use this process alone, without Ray."),
    click.option("--address", help="Of the Ray cluster; by default RAY_ADDRESS, or this machine."),
    *MAKING,
)


def settings_of(format_name: str, given: Mapping[str, Any]) -> ExportSettings:
    """The settings of one format, from the values of :data:`MAKING`.

    Raises:
        ConfigError: there is no such format.
    """
    from pager_ray.export.formats import ExportSettings, find_format
    from pager_ray.export.points import Cleaning

    find_format(format_name)
    defaults = Cleaning()
    return ExportSettings(
        format_name,
        given["color"],
        Cleaning(
            sky_threshold=given["sky_threshold"] if given["sky_threshold"] < 1 else None,
            edge_relative=None if given["keep_edges"] else defaults.edge_relative,
            saturation=None if given["keep_saturated"] else defaults.saturation,
            far_percentile=None if given["keep_clusters"] else defaults.far_percentile,
            max_points=given["max_points"] or None,
            seed=given["seed"],
        ),
        given["face_size"],
        images_from=given.get("images_from"),
        axes=given["axes"],
        max_triangles=given["max_triangles"] or None,
    )


@click.command()
@all_of(_OPTIONS)
@click.argument("run_uri", metavar="OUTPUT")
def export(run_uri: str, **given: Any) -> int:
    """Write the predictions of OUTPUT in the files of other programs; the same command again resumes."""
    from pager_ray.export.selection import read_ids
    from pager_ray.pipeline.export import ExportRequest, run_export

    request = ExportRequest(
        run_uri,
        settings_of(given["format_name"], given),
        ids=tuple(read_ids(given["ids"])) if given["ids"] else None,
        where=given["where"],
        output=given["output"],
        overwrite=given["overwrite"],
        local=given["local"],
        address=given["address"],
    )
    with shown():
        outcome = run_export(request)
    return tell(outcome)
