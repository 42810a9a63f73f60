"""A configuration as run.json has it: no key's value brings a credential along, whichever key it is."""

from __future__ import annotations

import json

import pytest
from pydantic import BaseModel

from pager_ray.config import EvaluateConfig, RunConfig, load_config
from pager_ray.config.evaluation import ScoreConfig
from pager_ray.config.loading import _text_keys
from pager_ray.config.shown import shown_config
from pager_ray.errors import ConfigError

SIGNED = "https://user:HUSH1@host/folder/a.png?width=4&X-Amz-Signature=HUSH2"
ENOUGH = {
    RunConfig: ["input.uris=in", "output.uri=out", "checkpoint=embedded"],
    EvaluateConfig: ["evaluation.dataset=synthetic", "output.uri=out"],
    ScoreConfig: ["evaluation.dataset=synthetic", "predictions=there"],
}


@pytest.mark.parametrize("model", [*ENOUGH])
def test_no_key_shows_a_credential(model: type[BaseModel]) -> None:
    """Every key that takes text, alone or in a list, is given a signed URL, and what is left is its place."""
    shown = []
    for key, _ in _text_keys(model, ""):
        try:
            config = load_config(None, [*ENOUGH[model], f"{key}={SIGNED}"], model)
        except ConfigError:
            # It takes a few words, or refuses credentials.
            continue
        text = json.dumps(shown_config(config))
        assert "HUSH" not in text, key
        assert "host/folder/a.png" in text, key
        shown.append(key)
    assert {"input.mask.uris", "router_weights", "checkpoint", "predictions", "compute.address"} & {*shown}


def test_what_is_no_url_is_shown_as_it_is() -> None:
    """Names of columns and paths may hold signs that mean something in URLs."""
    given = ["input.id_column=a?b=c", "input.keep_columns=[x@y, 'q?token=1']", "input.mask.uris=/masks #1/a.png"]
    config = load_config(None, [*ENOUGH[RunConfig], *given])
    shown = shown_config(config)["input"]
    assert (shown["id_column"], shown["keep_columns"]) == ("a?b=c", ["x@y", "q?token=1"])
    assert shown["mask"]["uris"] == ["/masks #1/a.png"]
