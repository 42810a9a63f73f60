"""Tests of pager_ray.read."""
