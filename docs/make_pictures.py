"""Draw the README's picture: python docs/make_pictures.py."""

from pathlib import Path

from pager_ray.preview import render_preview
from pager_ray.samples import make_scene, render

if __name__ == "__main__":
    street = render(make_scene(0, "outdoor"), 512, 1024)
    picture = render_preview(street.rgb, street.depth, street.normals, street.sky, metric=True)
    (Path(__file__).parent / "sample.jpg").write_bytes(picture)
