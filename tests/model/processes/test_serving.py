from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path


def test_works_with_torch_numpy_and_safetensors_alone(tiny_folder: Path):
    """A local folder loads and predicts where nothing but torch, NumPy and safetensors can be imported; the router's
    module is there too, and loads open_clip only when a router is built."""
    script = """
        import sys

        absent = {"yaml", "fsspec", "huggingface_hub", "pydantic", "ray", "pyarrow", "PIL", "cv2", "click", "rich",
                  "jaxtyping", "open_clip", "torchvision", "s3fs", "blosc2"}

        class Absent:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in absent:
                    raise ModuleNotFoundError(name)

        sys.meta_path.insert(0, Absent())
        import torch
        import pager_ray
        import pager_ray.model.router
        from pager_ray.infer import InferenceSettings, Predictor

        model = pager_ray.load_model(sys.argv[1])
        faces = torch.zeros(1, 6, 56, 56, 3, dtype=torch.uint8).numpy()
        assert Predictor(model, InferenceSettings())(faces, ["indoor"])[0].is_finite
        raw = model(torch.zeros(1, 6, 3, 56, 56, device=model.device), ["indoor"])
        assert "log_scale" in raw
        print(model.identity.sha256)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tiny_folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.strip()) == 64
