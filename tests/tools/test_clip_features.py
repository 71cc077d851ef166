"""Tests of the command `clip_features` with a small random network on tiny videos."""

import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.video import MC3_18_Weights, VideoResNet, mc3_18

from pipeline.cache.clip_features import INFO, ClipFeatures
from pipeline.errors import UsageError
from pipeline.runtime.files import file_sha256
from pipeline.weights.video_networks import NETWORKS, _build, _last_layer
from tests.pipeline.datasets.cad120 import release_maker
from tests.pipeline.video_maker import numbered_image, write_clip
from tools import clip_features

WORDS = ("network=mc3_18", "device=cpu", "decode.workers=0")
LENGTH = 3


@pytest.fixture(autouse=True)
def short_clips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "mc3_18", replace(NETWORKS["mc3_18"], length=LENGTH))


@pytest.fixture(scope="module")
def network() -> VideoResNet:
    torch.manual_seed(3)
    made: VideoResNet = mc3_18(num_classes=2).eval()
    return made


@pytest.fixture(scope="module")
def weights(network: VideoResNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "mc3_18.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_clip(folder / "long.mp4", 12, rate=30)
    write_clip(folder / "short.mp4", 2, rate=30)
    return folder


def say(videos: Path, out: Path, weights: Path, *words: str) -> int:
    places = ["--videos", str(videos), "--out", str(out), f"weights={weights}"]
    return clip_features.main([*places, *WORDS, *words])


def slow_vector(network: VideoResNet, images: list[np.ndarray], clips: list[list[int]]) -> Tensor:
    """Compute the mean over clips of the input of the last layer, with torchvision alone."""
    found: list[Tensor] = []
    hook = network.fc.register_forward_hook(lambda _m, inputs, _o: found.append(inputs[0][0]))
    prepare = MC3_18_Weights.KINETICS400_V1.transforms()
    with torch.no_grad():
        for clip in clips:
            stack = np.stack([images[index] for index in clip])
            network(prepare(torch.from_numpy(stack).permute(0, 3, 1, 2))[None])
    hook.remove()
    return torch.stack(found).mean(0)


def test_vector_equals_a_slow_computation_and_a_second_run_does_nothing(
    videos: Path, network: VideoResNet, weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert say(videos, out, weights, "clips=2") == 0
    features = ClipFeatures.open(out, "--out")
    assert (features.info.width, features.info.clips) == (512, 2)
    assert features.info.weights == file_sha256(weights)
    assert features.info.preprocessing["crop_size"] == [112, 112]
    for name, clips in {"long": [[0, 2, 4], [7, 9, 11]], "short": [[0, 1, 1]]}.items():
        with av.open(str(videos / f"{name}.mp4")) as container:
            images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        vector = slow_vector(network, images, clips)
        torch.testing.assert_close(features.read(name), vector, atol=1e-5, rtol=1e-4)
    assert float((features.read("long") - features.read("short")).abs().max()) > 1e-3
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.safetensors")}
    (out / "short.safetensors").write_bytes(b"damaged")
    (videos / "broken.mp4").write_bytes(b"no video")
    try:
        assert say(videos, out, weights, "clips=2") == 1
    finally:
        (videos / "broken.mp4").unlink()
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert counts == {"found": 3, "done": 1, "skipped": 1, "failed": 1}
    rows = [json.loads(line) for line in (out / "failures.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["broken"]
    assert (out / "long.safetensors").stat().st_mtime_ns == before["long.safetensors"]
    torch.testing.assert_close(features.read("short"), vector, atol=1e-5, rtol=1e-4)
    with pytest.raises(UsageError, match="contains other clip features: clips=2 expected, got 3"):
        say(videos, out, weights, "clips=3")
    other = tmp_path / "other.pth"
    torch.save(_state(weights) | {"fc.bias": torch.ones(2)}, other)
    with pytest.raises(UsageError, match="contains other clip features: weights="):
        say(videos, out, other, "clips=2")


def test_spans_of_frame_folders_have_vectors_of_their_own(
    network: VideoResNet, weights: Path, tmp_path: Path
) -> None:
    videos, annotations, out = (tmp_path / name for name in ("frames", "annotations", "out"))
    release_maker.write_release(annotations)
    place = videos / "Subject1_rgbd_images" / "drinking" / "0001"
    place.mkdir(parents=True)
    images = [numbered_image(number) for number in range(release_maker.NUM_FRAMES)]
    for number, image in enumerate(images):
        Image.fromarray(image).save(place / f"RGB_{number + 1}.png")
    state = {name: v.half() if v.is_floating_point() else v for name, v in _state(weights).items()}
    half = tmp_path / "mc3_18.safetensors"
    save_file(state, half)
    words = ("dataset=cad120", "vocabulary=cad120", "decode.backend=frames", "decode.fps=15")
    assert say(videos, out, half, "--annotations", str(annotations), *words, "clips=2") == 0
    features = ClipFeatures.open(out, "--out")
    assert {path.stem for path in out.glob("*.safetensors")} == {"0001_1_8", "0001_7_12"}
    vector = slow_vector(network, images, [[6, 7, 8], [9, 10, 11]])
    torch.testing.assert_close(features.read("0001_7_12"), vector, atol=0.02, rtol=0.02)
    assert float((features.read("0001_1_8") - vector).abs().max()) > 0.05


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("absent", "weights: weights file not found"),
        ("unset", "weights: not set"),
        ("other", r"weights of mc3_18 expected: .*missing, the first is 'fc\.bias'"),
        ("more", r"unexpected, the first is 'extra\.weight'"),
        ("shape", r"stem\.0\.weight: shape \(64, 3, 3, 7, 7\) expected, got \(1, 2\)"),
        ("nan", r"fc\.weight: finite numbers"),
        ("classifier", r"fc\.weight: shape"),
        ("damaged", "a checkpoint of plain tensors expected"),
        ("tolerant", "decode.tolerant=false expected"),
    ],
)
def test_wrong_weights_and_settings_are_rejected(
    videos: Path, weights: Path, tmp_path: Path, kind: str, says: str
) -> None:
    path, state = tmp_path / "w.pth", _state(weights)
    changes = {
        "more": {"extra.weight": torch.zeros(1)},
        "shape": {"stem.0.weight": torch.zeros(1, 2)},
        "nan": {"fc.weight": torch.full((2, 512), float("nan"))},
        "classifier": {"fc.weight": torch.zeros(())},
    }
    if kind == "other":
        state = {name: value for name, value in state.items() if not name.startswith("fc.")}
    if kind == "damaged":
        path.write_bytes(b"PK damaged")
    elif kind != "absent":
        torch.save(state | changes.get(kind, {}), path)
    words = {"unset": ["weights=null"], "tolerant": ["decode.tolerant=true"]}.get(kind, [])
    with pytest.raises(UsageError, match=says):
        say(videos, tmp_path / "out", path, *words)
    assert not (tmp_path / "out" / INFO).exists()


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_has_a_last_layer_of_the_known_width(name: str) -> None:
    with torch.device("meta"):
        made = _build(name, {})
    wide = {"s3d": 1024, "swin3d_b": 1024}
    narrow = 512 if name in ("r3d_18", "mc3_18", "r2plus1d_18") else 768
    layer = _last_layer(made, NETWORKS[name])
    assert layer.weight.shape[:2] == (400, wide.get(name, narrow))
    assert [m for m in made.modules() if isinstance(m, nn.Linear | nn.Conv3d)][-1] is layer


def _state(weights: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(weights, weights_only=True)
    return state
