"""Distance of a video's features to those of the training videos.

The features of a token are its human, object and pooled union features, each scaled to unit length
and concatenated. A normal distribution is fitted to the features of the training tokens by
probabilistic principal component analysis (Tipping and Bishop, 1999). The distance of a video is
the geometric mean over its tokens of

    m(x) = ( sum_i (u_i . (x - mean))^2 / variance_i  +  |residual|^2 / noise ) / F,

the squared Mahalanobis distance divided by the number of features F. A second distribution of box
features judges the videos without tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from sklearn.decomposition import PCA
from torch import Tensor

from model.tokens import TokenBatch
from pipeline.cache.clip import CachedClip
from pipeline.errors import ItemError, UsageError
from pipeline.runtime.files import write_atomically
from pipeline.samples.clip_tokens import clip_tokens
from pipeline.samples.dataset import ClipDataset
from pipeline.weights.model_card import ModelCard
from pipeline.weights.run_folder import FAMILIARITY

#: The threshold is this quantile of the distances of known videos, multiplied by the margin. The
#: margin allows for the error of a quantile of few videos.
QUANTILE, MARGIN = 0.99, 1.1
_COMPONENTS = 64
#: Numbers of clips, and of rows of each clip, from which a distribution is fitted.
_CLIPS, _ROWS = 1024, 32
#: Smallest variance; the features have unit length.
_MIN_VARIANCE = 1e-9


@dataclass(frozen=True)
class Normal:
    """Normal distribution of F features with D principal components, and a threshold.

    Attributes:
        mean: (F,) mean of the features.
        components: (D, F) float16 orthonormal principal components.
        variances: (D,) variances along the components.
        noise: () variance in every direction that is orthogonal to the components.
        threshold: () largest distance of a familiar video.

    Raises:
        ValueError: if a tensor has another shape, has no floating-point type or is not finite, or
            a variance or the threshold is not positive.
    """

    mean: Tensor
    components: Tensor
    variances: Tensor
    noise: Tensor
    threshold: Tensor

    def __post_init__(self) -> None:
        wide = (*self.variances.shape, *self.mean.shape)
        if self.mean.ndim != 1 or self.variances.ndim != 1 or self.components.shape != wide:
            raise ValueError(
                "(F,) mean, (D,) variances and (D, F) components expected, got "
                f"{tuple(self.mean.shape)}, {tuple(self.variances.shape)} and "
                f"{tuple(self.components.shape)}"
            )
        for name, value in vars(self).items():
            if value.dtype not in (torch.float16, torch.float32) or not bool(
                torch.isfinite(value).all()
            ):
                raise ValueError(f"{name}: finite float16 or float32 values expected")
            if name in ("noise", "threshold") and value.ndim:
                raise ValueError(f"{name}: a single value expected, got {tuple(value.shape)}")
            if name in ("variances", "noise", "threshold") and not bool((value > 0).all()):
                raise ValueError(f"{name}: positive values expected")

    def distance(self, features: Tensor) -> float:
        """Return the distance of a video from the (M, F) features of its M >= 1 rows."""
        x = features.double() - self.mean.double()
        z = x @ self.components.double().T
        rest = ((x**2).sum(1) - (z**2).sum(1)).clamp(min=0) / self.noise.double()
        squared = (z**2 / self.variances.double()).sum(1) + rest
        return float((squared / x.shape[1]).clamp(min=_MIN_VARIANCE).log().mean().exp())


@dataclass(frozen=True)
class Familiarity:
    """Distributions of the features of the training videos.

    Attributes:
        normals: maps `token` and `box` to the distribution of the features of tokens and of boxes.
            A kind with fewer than two rows in the training videos is absent.
    """

    normals: dict[str, Normal]

    def distance(self, clip: CachedClip, tokens: TokenBatch) -> float | None:
        """Return the distance of a video as a multiple of the threshold.

        Args:
            clip: sampled frames of the video.
            tokens: tokens of these frames, a batch of one video.

        Returns:
            Distance of the tokens. If the video has no tokens, the distance of its boxes. A video
            with a distance above 1 is unfamiliar. If no distance can be computed, None.
        """
        features = clip_features(clip, tokens)
        for kind, normal in self.normals.items():
            if len(features[kind]):
                return normal.distance(features[kind]) / float(normal.threshold)
        return None

    def warnings(self, clip: CachedClip, tokens: TokenBatch) -> tuple[str, ...]:
        """Return the warning code UNFAMILIAR if the distance of a video is above the threshold."""
        return ("UNFAMILIAR",) if (self.distance(clip, tokens) or 0.0) > 1 else ()


def clip_features(clip: CachedClip, tokens: TokenBatch) -> dict[str, Tensor]:
    """Return the features of the tokens and boxes of a video.

    Args:
        clip: sampled frames of the video.
        tokens: tokens of these frames, a batch of one video.

    Returns:
        A mapping from `token` to the (M, 2 F + Cu) features of the tokens, and from `box` to the
        (N, F) features of the boxes. Each of their parts has unit length.
    """
    union = tokens.union_features.float().mean((2, 3))
    parts = (tokens.human_features.float(), tokens.object_features.float(), union)
    return {
        "token": torch.cat([F.normalize(part, dim=1) for part in parts], 1),
        "box": F.normalize(clip.box_features.float(), dim=1),
    }


def fit_familiarity(data: ClipDataset, validation: ClipDataset) -> Familiarity:
    """Fit the distributions on training videos, and their thresholds on known videos.

    The threshold is `MARGIN` times the `QUANTILE` of the distances of the validation videos or of
    the training videos, whichever quantile is larger. At most 1024 evenly spaced clips of each
    split are read. Unreadable clips are skipped.

    Args:
        data: samples of the training videos.
        validation: samples of the validation videos; may be empty.
    """
    known: dict[str, list[Tensor]] = {"token": [], "box": []}
    for clip, tokens in _read(data, _CLIPS):
        for kind, features in clip_features(clip, tokens).items():
            if len(features):
                known[kind].append(features[_spread(len(features), _ROWS)])
    normals = {
        kind: _fit_normal(torch.cat(rows))
        for kind, rows in known.items()
        if sum(map(len, rows)) > 1
    }
    found = {kind: [n.distance(rows) for rows in known[kind]] for kind, n in normals.items()}
    held_out: dict[str, list[float]] = {kind: [] for kind in normals}
    for clip, tokens in _read(validation, _CLIPS):
        features_of = clip_features(clip, tokens)
        for kind, normal in normals.items():
            if len(features_of[kind]):
                held_out[kind].append(normal.distance(features_of[kind]))
    for kind, normal in normals.items():
        limit = max(np.quantile(each, QUANTILE) for each in (found[kind], held_out[kind]) if each)
        normals[kind] = replace(normal, threshold=torch.tensor(MARGIN * float(limit)))
    return Familiarity(normals)


def unfamiliar_share(familiarity: Familiarity, data: ClipDataset) -> float | None:
    """Return the fraction of the readable videos of a split that are unfamiliar.

    Returns:
        Fraction in [0, 1], or None if no video is readable.
    """
    codes = [familiarity.warnings(*each) for each in _read(data, len(data))]
    return sum(map(len, codes)) / len(codes) if codes else None


def save_familiarity(run: Path, familiarity: Familiarity) -> None:
    """Write `familiarity.safetensors`."""
    arrays = {
        f"{kind}.{name}": value.contiguous()
        for kind, normal in familiarity.normals.items()
        for name, value in vars(normal).items()
    }
    write_atomically(run / FAMILIARITY, save(arrays))


def load_familiarity(run: Path, card: ModelCard) -> Familiarity:
    """Read `familiarity.safetensors`.

    Raises:
        UsageError: if the file is missing or damaged, or does not fit the network.
    """
    path = run / FAMILIARITY
    if not path.is_file():
        raise UsageError(f"familiarity file not found: {path}. Finish the training run")
    sizes = {"token": 2 * card.box_features + card.union_channels, "box": card.box_features}
    try:
        fields: dict[str, dict[str, Tensor]] = {}
        for key, value in load_file(path).items():
            kind, _, name = key.partition(".")
            fields.setdefault(kind, {})[name] = value
        if not fields.keys() <= sizes.keys():
            raise ValueError(f"distributions of token and box expected, got {sorted(fields)}")
        normals = {kind: Normal(**fields[kind]) for kind in sizes if kind in fields}
    except (TypeError, ValueError, OSError, SafetensorError) as error:
        raise UsageError(f"{path}: invalid familiarity file: {error}") from error
    for kind, normal in normals.items():
        if len(normal.mean) != sizes[kind]:
            raise UsageError(
                f"{path}: {kind}: {sizes[kind]} features expected, got {len(normal.mean)}"
            )
    return Familiarity(normals)


def _read(data: ClipDataset, limit: int) -> Iterator[tuple[CachedClip, TokenBatch]]:
    """Yield the sampled frames and the tokens of at most `limit` evenly spaced clips."""
    for index in _spread(len(data), limit):
        try:
            clip = data.read(data.clips[index])
        except ItemError:
            continue
        yield clip, clip_tokens(clip, data.max_pairs).batch


def _spread(num: int, limit: int) -> list[int]:
    """Return at most `limit` evenly spaced numbers below `num`."""
    return [i * num // min(num, limit) for i in range(min(num, limit))]


def _fit_normal(features: Tensor) -> Normal:
    """Fit the distribution to (M, F) features; its threshold is 1."""
    rows, size = features.shape
    pca = PCA(min(_COMPONENTS, rows - 1, size - 1), random_state=0).fit(features.numpy())
    left = float(features.var(0).sum()) - float(pca.explained_variance_.sum())
    return Normal(
        mean=torch.tensor(pca.mean_).float(),
        components=torch.tensor(pca.components_).half(),
        variances=torch.tensor(pca.explained_variance_).float().clamp(min=_MIN_VARIANCE),
        noise=torch.tensor(max(left / (size - len(pca.components_)), _MIN_VARIANCE)),
        threshold=torch.tensor(1.0),
    )
