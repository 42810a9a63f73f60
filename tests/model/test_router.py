"""The scene router: the same numbers as CLIP computed step by step, weights from a file, and no CLIP when forced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file

from pager_ray.errors import CheckpointError, ConfigError, ShapeError
from pager_ray.model import router as module
from pager_ray.model.router import SceneRouter

if TYPE_CHECKING:
    # Every process of a run collects this file, and one of them needs what takes seconds to import.
    import open_clip

TINY = "tiny-clip-of-the-router-tests"
CONFIG = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 224, "layers": 2, "width": 64, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> open_clip.CLIP:
    """A CLIP of the router's kind, small and random; the full size differs in widths and depths only."""
    import open_clip

    folder = tmp_path_factory.mktemp("clip")
    (folder / f"{TINY}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder)
    torch.manual_seed(5)
    return open_clip.create_model(TINY, load_weights=False).eval()


@pytest.fixture
def weights(clip: open_clip.CLIP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(module, "ARCHITECTURE", TINY)
    save_file({name: value.clone() for name, value in clip.state_dict().items()}, tmp_path / "clip.safetensors")
    return tmp_path / "clip.safetensors"


@pytest.fixture
def faces() -> torch.Tensor:
    coarse = torch.randint(0, 256, (3, 6, 3, 5, 5), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return coarse.repeat_interleave(56, 3).repeat_interleave(56, 4)


@torch.no_grad()
def _step_by_step(clip: open_clip.CLIP, faces: torch.Tensor) -> torch.Tensor:
    import open_clip
    from torchvision.transforms import Normalize, Resize

    tokenizer = open_clip.get_tokenizer(TINY)
    classes = []
    for prompts in (module.INDOOR_PROMPTS, module.OUTDOOR_PROMPTS):
        each = [clip.encode_text(tokenizer([prompt]))[0] for prompt in prompts]
        mean = sum(embedding / embedding.norm() for embedding in each) / len(each)
        classes.append(mean / mean.norm())
    resize, normalize = (
        Resize((224, 224), antialias=True),
        Normalize(open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD),
    )
    outdoor = []
    for panorama in faces:
        shares = []
        for side in (0, 1, 2, 3):
            image = clip.encode_image(normalize(resize(panorama[side].float() / 255))[None])[0]
            logits = torch.stack([100 * (image / image.norm()) @ known for known in classes])
            shares.append(torch.softmax(logits, 0)[1])
        outdoor.append(sum(shares) / 4)
    return torch.stack(outdoor)


def test_probability_equals_clip_computed_step_by_step(
    clip: open_clip.CLIP, weights: Path, faces: torch.Tensor
) -> None:
    """P(outdoor) is the mean over F, R, B, L of softmax(100 · cosine) with the mean prompt embeddings."""
    expected = _step_by_step(clip, faces)
    p = SceneRouter.load(weights, device="cpu").p_outdoor(faces)
    assert p.dtype == torch.float32
    torch.testing.assert_close(p, expected, rtol=0, atol=1e-5)
    assert p.max() - p.min() > 1e-3


def test_float_faces_equal_uint8_faces(weights: Path, faces: torch.Tensor) -> None:
    """Faces in [0, 1] give the probability of the same faces as bytes."""
    router = SceneRouter.load(weights)
    torch.testing.assert_close(router.p_outdoor(faces.float() / 255), router.p_outdoor(faces), rtol=0, atol=1e-6)


def test_only_the_side_faces_count(weights: Path, faces: torch.Tensor) -> None:
    """Up and down do not change the probability; each side face does."""
    router = SceneRouter.load(weights)
    p = router.p_outdoor(faces)
    for face in range(6):
        other = faces.clone()
        other[:, face] = 255 - other[:, face]
        same = torch.equal(router.p_outdoor(other), p)
        assert same == (face >= 4)


def test_a_row_does_not_depend_on_its_batch(weights: Path, faces: torch.Tensor) -> None:
    """Each panorama of a batch gets the probability it gets alone."""
    router = SceneRouter.load(weights)
    alone = torch.cat([router.p_outdoor(faces[row : row + 1]) for row in range(len(faces))])
    torch.testing.assert_close(router.p_outdoor(faces), alone, rtol=0, atol=1e-5)


def test_scene_is_outdoor_from_one_half_on(weights: Path) -> None:
    """Exactly 0.5 counts as outdoor."""
    names = SceneRouter.load(weights).scenes(torch.tensor([0.0, 0.49999, 0.5, 1.0]))
    assert names == ["indoor", "indoor", "outdoor", "outdoor"]


def test_a_pt_file_gives_the_same_router(clip: open_clip.CLIP, weights: Path, faces: torch.Tensor) -> None:
    """A state dict saved by torch loads like the safetensors file."""
    other = weights.with_suffix(".pt")
    torch.save(clip.state_dict(), other)
    assert torch.equal(SceneRouter.load(other).p_outdoor(faces), SceneRouter.load(weights).p_outdoor(faces))


def test_half_precision_stays_near_single_precision(weights: Path, faces: torch.Tensor) -> None:
    """bfloat16 towers give float32 probabilities close to the float32 ones."""
    p = SceneRouter.load(weights, precision="bfloat16").p_outdoor(faces)
    assert p.dtype == torch.float32
    torch.testing.assert_close(p, SceneRouter.load(weights).p_outdoor(faces), rtol=0, atol=0.1)


def test_the_full_size_model_is_the_specified_one() -> None:
    """open_clip knows the router's architecture as a quick-GELU ViT-B/32 at 224 px with OpenAI's weights."""
    import open_clip

    config = open_clip.get_model_config("ViT-B-32-quickgelu")
    assert (module.ARCHITECTURE, module.PRETRAINED) == ("ViT-B-32-quickgelu", "openai")
    assert (module.ARCHITECTURE, module.PRETRAINED) in open_clip.list_pretrained()
    assert config["quick_gelu"] is True
    assert (config["vision_cfg"]["patch_size"], config["vision_cfg"]["image_size"]) == (32, 224)
    assert len(module.INDOOR_PROMPTS) == len(module.OUTDOOR_PROMPTS) == 9


def test_unreachable_hub_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without network and cache the error says which weights are missing and the three ways out."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="ViT-B-32") as caught:
        SceneRouter.load()
    for hint in ("router_weights", "scene_mode", "scene column"):
        assert hint in str(caught.value)


@pytest.mark.parametrize("damage", ["missing", "truncated", "garbage.pt", "no tensors.pt", "other keys"])
def test_a_bad_file_is_one_clear_error(weights: Path, damage: str) -> None:
    """Whatever is wrong with the file, the error names the file and what to do."""
    bad = weights.with_name(damage if "." in damage else f"{damage}.safetensors")
    if damage == "truncated":
        bad.write_bytes(weights.read_bytes()[:-1000])
    elif damage == "garbage.pt":
        bad.write_bytes(b"these are no weights")
    elif damage == "no tensors.pt":
        torch.save({"epoch": 3}, bad)
    elif damage == "other keys":
        save_file({"visual.proj": torch.zeros(3)}, bad)
    with pytest.raises(CheckpointError, match="scene_mode") as caught:
        SceneRouter.load(bad)
    assert bad.name in str(caught.value)


@pytest.mark.parametrize(
    "bad",
    [
        torch.zeros(1, 4, 3, 8, 8),
        torch.zeros(6, 3, 8, 8),
        torch.zeros(1, 6, 3, 8, 9),
        torch.zeros(1, 6, 3, 8, 8, dtype=torch.int64),
    ],
)
def test_wrong_faces_are_refused(weights: Path, bad: torch.Tensor) -> None:
    """Faces of another shape or integer type are a ShapeError."""
    with pytest.raises(ShapeError, match="router"):
        SceneRouter.load(weights).p_outdoor(bad)


def test_unknown_precision_is_refused(weights: Path) -> None:
    """An unknown precision names the known ones."""
    with pytest.raises(ConfigError, match="bfloat16"):
        SceneRouter.load(weights, precision="float8")
