"""Which scene a training index stands for: a sample's family with a seed of its own, or a random place."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pager_ray.errors import ConfigError
from pager_ray.samples import STYLES, make_scene
from pager_ray.train.scenes.draw import chance, uniform
from pager_ray.train.scenes.interiors import room
from pager_ray.train.scenes.places import place

if TYPE_CHECKING:
    from pager_ray.samples import Kind, Scene

# Seeds below this one belong to tests and held-out figures: no training scene is made of them.
FIRST_SEED = 10_000
FAMILIES = tuple(style.__name__ for styles in STYLES.values() for style in styles)
_FAMILY_SHARE = 0.4
_TILTED_SHARE, _STEEPEST = 0.45, math.radians(10)


def sample_scene(seed: int, kind: Kind) -> Scene:
    """The sample scene of a seed that training may use.

    Raises:
        ConfigError: a seed that is kept for testing, below 10,000.
    """
    if seed < FIRST_SEED:
        raise ConfigError(f"sample seed {seed} is kept for testing; training takes seeds from {FIRST_SEED:,}")
    return make_scene(seed, kind)


def check_families(leave_out: Collection[str]) -> None:
    """Refuse to leave out a family that there is not: a misspelt one would be trained on.

    Raises:
        ConfigError: it names it, with those that there are.
    """
    if unknown := sorted(set(leave_out) - set(FAMILIES)):
        raise ConfigError(f"no family {', '.join(unknown)} to leave out; there are {', '.join(FAMILIES)}")


def training_scene(index: int, seed: int, *, leave_out: tuple[str, ...] = ()) -> Scene:
    """The training scene of an index: indoors for even ones, outdoors for odd ones.

    The same index, seed and ``leave_out`` give the same scene everywhere. Two in five come from the six families of
    :func:`pager_ray.samples.make_scene`; the others are drawn afresh.

    Args:
        index: from 0.
        seed: of the training run, from 0.
        leave_out: families that are not to be seen in training; what is left of a kind's share is drawn afresh.

    Raises:
        ConfigError: a negative number, or a family that there is not.
    """
    if index < 0 or seed < 0:
        raise ConfigError(f"no training scene of index {index} and seed {seed}: both are numbers from 0")
    check_families(leave_out)
    kind: Kind = "outdoor" if index % 2 else "indoor"
    rng = np.random.default_rng([seed, index])
    styles = STYLES[kind]
    if chance(rng, _FAMILY_SHARE):
        drawn = FIRST_SEED + int(rng.integers(1 << 31))
        if styles[drawn % len(styles)].__name__ not in leave_out:
            return sample_scene(drawn, kind)
    scene = place(rng) if kind == "outdoor" else room(rng)
    if chance(rng, _TILTED_SHARE):
        share = uniform(rng, 0.0, 1.0) ** 1.5 * _STEEPEST
        turn = uniform(rng, -math.pi, math.pi)
        scene = replace(scene, tilt=(share * math.cos(turn), share * math.sin(turn)))
    return replace(scene, metered=uniform(rng, 0.7, 1.3))
