"""Pictures in containers: what lies in a tar, a zip or a Parquet file, and the bytes of one of them."""

from __future__ import annotations

from pager_ray.read.containers.index import Container, form_by_content, form_by_name, index_container
from pager_ray.read.containers.members import Place
from pager_ray.read.containers.places import MEMBER_SCHEMA, IndexSettings, Members

__all__ = [
    "MEMBER_SCHEMA",
    "Container",
    "IndexSettings",
    "Members",
    "Place",
    "form_by_content",
    "form_by_name",
    "index_container",
]
