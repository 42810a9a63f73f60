"""Which sample scenes there are, and how a seed picks one."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import numpy as np

from pager_ray.errors import ConfigError
from pager_ray.samples.exteriors import park, plaza, street
from pager_ray.samples.interiors import corridor, gallery, living_room
from pager_ray.samples.scene import Kind

if TYPE_CHECKING:
    from pager_ray.samples.scene import Scene

STYLES = {
    "indoor": (living_room, corridor, gallery),
    "outdoor": (street, park, plaza),
}


def make_scene(seed: int, kind: Kind = "indoor") -> Scene:
    """Make the sample scene of a seed; the same seed gives the same scene everywhere.

    Args:
        seed: not negative; consecutive seeds go through the styles of their kind in turn.
        kind: ``"indoor"`` or ``"outdoor"``.

    Returns:
        The scene, with the camera standing in it.

    Raises:
        ConfigError: another ``kind``, or a negative seed.
    """
    if kind not in STYLES or seed < 0:
        kinds = " or ".join(get_args(Kind))
        raise ConfigError(f"no sample scene of kind {kind!r} and seed {seed}: kind takes {kinds}, seed a number from 0")
    styles = STYLES[kind]
    return styles[seed % len(styles)](np.random.default_rng([seed, list(STYLES).index(kind)]))
