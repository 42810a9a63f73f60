from __future__ import annotations

import logging

import pytest

from pager_ray.errors import CheckpointError
from pager_ray.model.architecture import PRESETS, parse_architecture
from tests.model.conftest import tiny_architecture, tiny_config


def test_preset_gives_released_sizes_and_defaults():
    """A released config, which names only a preset and the heads, gets the released sizes and defaults."""
    a = parse_architecture({"modalities": ["depth"], "pretrained_model_name": "da3-giant"}, where="test")
    assert (a.backbone.embed_dim, a.backbone.depth, a.backbone.num_heads) == (1536, 40, 24)
    assert a.backbone.out_layers == (19, 27, 33, 39)
    assert a.backbone.alt_start == a.backbone.qknorm_start == a.backbone.rope_start == 13
    assert (a.head.features, a.head.out_channels) == (256, (256, 512, 1024, 1024))
    assert (a.face_size, a.cube_fov, a.log_depth, a.valid_conv_padding) == (504, 90.0, True, True)
    assert (a.scale_head_downsample_factor, a.scale_size, a.grid) == (4, 126, 36)


def test_unknown_preset_error_lists_known_ones():
    """An unknown preset without explicit sections is an error that names it and every known one."""
    with pytest.raises(CheckpointError, match="da4-huge") as caught:
        parse_architecture({"modalities": ["depth"], "pretrained_model_name": "da4-huge"}, where="x/config.yaml")
    assert "x/config.yaml" in str(caught.value)
    assert all(name in str(caught.value) for name in PRESETS)


def test_unknown_keys_are_kept_and_logged(caplog: pytest.LogCaptureFixture):
    """Keys without a use are kept with the architecture and named in one log line."""
    with caplog.at_level(logging.INFO, logger="pager_ray"):
        a = tiny_architecture(loss="l1", backbone={"drop_path": 0.1})
    assert a.unused == {"loss": "l1"}
    assert "loss" in caplog.text
    assert "backbone.drop_path" in caplog.text
    assert a == tiny_architecture()


@pytest.mark.parametrize("config", [tiny_config(cube_fov=95), {"modalities": ["normals"], "extra": 1}])
def test_config_round_trips(config: dict):
    """Writing an architecture's configuration and parsing it gives the same architecture."""
    a = parse_architecture(config, where="test")
    again = parse_architecture(a.to_config(), where="test")
    assert again == a
    assert again.unused == a.unused


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"modalities": ["depth", "albedo"]}, "albedo"),
        ({"modalities": []}, "modalities"),
        ({"modalities": "depth"}, "modalities"),
        ({"modalities": ["depth", "depth"]}, "twice"),
        ({"modalities": ["sky"]}, "depth"),
        ({"modalities": ["scale_indoor", "normals"]}, "depth"),
        ({"face_size": 500}, "face_size"),
        ({"face_size": "504"}, "face_size"),
        ({"cube_fov": 80}, "cube_fov must be at least 90 and below 180 degrees, got 80"),
        ({"cube_fov": "wide"}, "cube_fov must be a number, got 'wide'"),
        ({"cube_fov": 180.0}, "cube_fov"),
        ({"log_depth": "yes"}, "log_depth"),
        ({"scale_head_downsample_factor": 0}, "scale_head_downsample_factor"),
        ({"pretrained_model_name": 3}, "pretrained_model_name"),
        ({"backbone": {"embed_dim": 33}}, "embed_dim"),
        ({"backbone": {"embed_dim": None}}, "backbone.embed_dim is missing; add it"),
        ({"backbone": {"out_layers": [3, 5, 7, 10]}}, "out_layers"),
        ({"backbone": {"out_layers": [3, 5, 7]}}, "out_layers"),
        ({"backbone": {"rope_start": -1}}, "rope_start"),
        ({"backbone": {"depth": 0}}, "depth"),
        ({"head": {"features": 12}}, "features"),
        ({"head": {"out_channels": [8, 16, 30, 32]}}, "out_channels"),
        ({"head": {"out_channels": [8, 16, 32.5, 32]}}, "out_channels"),
    ],
)
def test_impossible_values_name_key_and_file(changes: dict, names: str):
    """A value that no network can be built from is one error naming the file and the key."""
    with pytest.raises(CheckpointError, match=r"here/config\.yaml") as caught:
        parse_architecture(tiny_config(**changes), where="here/config.yaml")
    assert names in str(caught.value)


def test_sections_must_be_mappings():
    """A section that is no mapping is an error, not a crash."""
    with pytest.raises(CheckpointError, match="backbone must be a mapping"):
        parse_architecture({**tiny_config(), "backbone": [1]}, where="test")
