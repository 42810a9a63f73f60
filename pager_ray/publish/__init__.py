"""A finished run as a dataset of the Hugging Face Hub: its files as they are, and a card that says what they are."""

from __future__ import annotations

from pager_ray.publish.card import dataset_card
from pager_ray.publish.hub import Published, publish_run

__all__ = ["Published", "dataset_card", "publish_run"]
