"""Tests of pager_ray.encode."""
