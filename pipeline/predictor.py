"""Prediction and explanation of videos by a trained network."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import SupportsFloat, overload

import numpy as np

from pipeline.cache.union_features import reduce_union
from pipeline.config.loading import load_config
from pipeline.config.schema import Backend, Branch, Config, UnionKind
from pipeline.datasets import Annotations, ClipAnnotation, read_dataset
from pipeline.datasets.ids import is_safe_id
from pipeline.datasets.video_files import VideoFile, video_id_of, video_sha256
from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.decoding import DirectStream, FrameRequest, FrameStream
from pipeline.decoding.array_stream import ArrayStream, array_sha256
from pipeline.errors import UsageError
from pipeline.evaluate import run_config
from pipeline.explanation.explainer import Explainer, load_explainer
from pipeline.explanation.explanation import Explanation
from pipeline.explanation.thumbnails import Thumbnails
from pipeline.extraction.clip import (
    ClipExtractor,
    clip_fingerprint,
    decode_options,
    frame_request,
)
from pipeline.extraction.person_choice import PersonChoice
from pipeline.runtime.devices import pick_device
from pipeline.runtime.files import json_sha256
from pipeline.runtime.item_errors import as_item_error
from pipeline.runtime.path_lists import reject_url
from pipeline.weights.detectors import find_described_detector
from pipeline.weights.model_card import ModelCard
from pipeline.weights.run_folder import read_card

#: Run folder of the network for the synthetic world that the repository contains.
WORLD = Path(__file__).resolve().parent.parent / "configs" / "runs" / "world"


@dataclass(frozen=True)
class Examined:
    """Video that can be explained.

    Attributes:
        video_id: id of the video.
        boxes: source of the boxes, `detected` or `ground-truth`.
        annotation: annotation of the video, or None.
        labels: id and name of each annotated action, or None.
        request: request for the frames that the network reads.
        clip_fingerprint: fingerprint of the extracted clip.
        fingerprint: SHA-256 over everything that determines the explanation.
    """

    video_id: str
    boxes: str
    annotation: ClipAnnotation | None
    labels: tuple[tuple[str, str], ...] | None
    request: FrameRequest
    clip_fingerprint: str
    fingerprint: str


class LaIARPredictor:
    """Trained network that predicts the actions of videos and explains them.

    The detector and the network are loaded once.

    Args:
        explainer: trained network.
        annotations: annotations of the videos, or None.
        person: number of the person whose relations are used, or None for the person with the
            highest score in each frame.

    Example::

        predictor = LaIARPredictor.from_run("configs/runs/world")
        explanation = predictor.predict("clip.mp4")
        print(explanation.predictions[0].sentence)
        explanation.save("out/")
    """

    def __init__(
        self,
        explainer: Explainer,
        annotations: Annotations | None = None,
        person: int | None = None,
    ) -> None:
        self.explainer, self.annotations, self.person = explainer, annotations, person
        if person is not None and not (type(person) is int and person >= 1):
            raise UsageError(f"--person: a number of at least 1 expected, got {person}")
        self._extractors: dict[str, ClipExtractor] = {}

    @classmethod
    def from_run(
        cls,
        run: str | Path = WORLD,
        *settings: str,
        config: str | Path | None = None,
        annotations: Sequence[str | Path] = (),
        person: int | None = None,
    ) -> "LaIARPredictor":
        """Load a trained network and its detector.

        Args:
            run: run folder of `pipeline.train`.
            *settings: settings such as `device=cpu`, as on the command line of `pipeline.predict`.
            config: YAML file from which only `detection.weights` is read.
            annotations: annotation folders. A network that was trained on annotated boxes then
                uses the annotated boxes.
            person: number of the person whose relations are used, see `relations.people`. None
                selects the person with the highest score in each frame.

        Raises:
            UsageError: if a file is missing or damaged, a setting is invalid or fixed by the
                trained network, or the network has no video branch.
        """
        card = read_card(Path(run))
        if card.branch != Branch.both.name:
            raise UsageError(
                f"--run: a network with a video branch expected, {run} was trained with "
                f"branch={card.branch}; train one with branch=both"
            )
        made = predict_config(Path(run), card, None if config is None else Path(config), settings)
        device = pick_device(made.device)
        detector = find_described_detector(card.cache.detector, made.detection)
        read = None
        if annotations:
            vocabulary = load_vocabulary(made.vocabulary)
            read = read_dataset(made.dataset.value, [*map(Path, annotations)], vocabulary)
        return cls(load_explainer(Path(run), made, detector, device), read, person)

    @overload
    def predict(self, video: str | Path) -> Explanation: ...

    @overload
    def predict(
        self, video: np.ndarray, *, fps: SupportsFloat, video_id: str = ...
    ) -> Explanation: ...

    @overload
    def predict(self, video: list[str] | list[Path]) -> list[Explanation]: ...

    def predict(
        self,
        video: str | Path | np.ndarray | list[str] | list[Path],
        *,
        fps: SupportsFloat | None = None,
        video_id: str = "frames",
    ) -> Explanation | list[Explanation]:
        """Predict and explain the actions of one or several videos.

        Args:
            video: path of a video file; a list of paths; or the frames of a video as a
                (T, H, W, 3) uint8 array of RGB images.
            fps: frames per second of an array of frames.
            video_id: id of an array of frames, which names its output folder.

        Returns:
            The explanation, or a list of explanations for a list of paths.

        Raises:
            ItemError: if a video cannot be decoded.
            ValueError: if an array has another shape or dtype, no frame rate is given for it, or
                its id is not safe as a file name; or if a frame rate is given for a path.
            UsageError: if a path is a URL. URLs are not fetched.
        """
        if isinstance(video, np.ndarray):
            return self._predict_array(video, fps, video_id)
        if fps is not None:
            raise ValueError("fps: supported only for an array of frames; leave it out")
        if not isinstance(video, str | Path):
            return [self.predict(each) for each in video]
        reject_url(video, "video")
        dumped = self.explainer.config.decode.backend is Backend.frames
        file = VideoFile(Path(video), video_id_of(Path(video), dumped=dumped))
        with as_item_error(str(video)):
            examined = self.examine(file)
            return self.explain(examined, DirectStream(examined.request))[0]

    def _predict_array(
        self, frames: np.ndarray, fps: SupportsFloat | None, video_id: str
    ) -> Explanation:
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not frames.size:
            raise ValueError(
                f"video: a (T, H, W, 3) uint8 array expected, got {frames.shape} {frames.dtype}"
            )
        rate = 0.0 if fps is None else float(fps)
        if not 1e-3 <= rate <= 1e6:
            raise ValueError(f"fps: the frame rate of the array expected, got {fps}")
        if not is_safe_id(video_id):
            raise ValueError(
                f"video_id: a name of letters, digits, . _ and - expected, got {video_id!r}"
            )
        sha256 = array_sha256(frames, rate)
        examined = self.examine(VideoFile(Path(video_id), video_id), sha256)
        return self.explain(examined, ArrayStream(frames, rate, examined.request))[0]

    def examine(self, video: VideoFile, sha256: str | None = None) -> Examined:
        """Prepare the explanation of a video without decoding it.

        Args:
            video: path and id of the video.
            sha256: SHA-256 of the video, or None to compute it.

        Raises:
            ItemError: if the file cannot be read.
        """
        explainer, card = self.explainer, self.explainer.card
        sha256 = video_sha256(video.path) if sha256 is None else sha256
        known = self.annotations.of_video(video.video_id) if self.annotations else None
        labels = None
        if self.annotations and known is not None and known.actions is not None:
            rows = {self.annotations.classes[c] for c, _, _ in known.actions}
            ids = {class_id for class_id, _ in card.classes}
            chosen = [row for row in rows if card.columns is None or row[0] in ids]
            labels = tuple(sorted(chosen))
        given = card.cache.settings.boxes == "ground-truth" and known is not None and known.frames
        boxes = "ground-truth" if given else "detected"
        config, settings = explainer.config, self._extractor(boxes).settings
        request = frame_request(
            video.path,
            sha256,
            known,
            settings,
            options=decode_options(config.decode),
            batch_size=config.detection.batch_size,
        )
        limit = config.predict.window_s
        window_s = None if given else (card.longest_s if limit is None else limit) or None
        request = replace(request, num_sampled=card.settings.num_frames, window_s=window_s)
        inner = clip_fingerprint(sha256, settings, explainer.detector, known)
        limits = [
            Explanation.SCHEMA, config.predict.top, config.predict.threshold,
            config.model.tolerance, window_s, self.person, labels,
        ]  # fmt: skip
        fingerprint = json_sha256([inner, explainer.generator, *limits])
        return Examined(video.video_id, boxes, known, labels, request, inner, fingerprint)

    def explain(self, video: Examined, frames: FrameStream) -> tuple[Explanation, list[float]]:
        """Explain a video.

        Args:
            video: the video.
            frames: its decoded frames, as requested by `video.request`.

        Returns:
            The explanation, and the highest score of each of the C classes in a window.

        Raises:
            ItemError: if the video cannot be decoded.
        """
        explainer = self.explainer
        extractor, trained = self._extractor(video.boxes), explainer.card.cache.settings.boxes
        people, images = PersonChoice(self.person), Thumbnails(frames)
        windows = extractor.windows(
            images,
            video.video_id,
            video.request,
            fingerprint=video.clip_fingerprint,
            annotation=video.annotation,
            people=people,
        )
        return explainer.explain(
            (reduce_union(clip, extractor.settings.union) for clip in windows),
            video.fingerprint,
            people=people,
            images=images,
            labels=video.labels,
            warnings=("DETECTED_BOXES",) if video.boxes != trained == "ground-truth" else (),
        )

    def _extractor(self, boxes: str) -> ClipExtractor:
        if boxes not in self._extractors:
            e, decode = self.explainer, self.explainer.config.decode
            made, device = next(iter(self._extractors.values()), None), e.network.device
            settings = replace(
                e.card.cache.settings,
                boxes=boxes,
                tolerant=decode.tolerant,
                backend=decode.backend.value,
                fps=decode.fps,
            )
            network = made.network if made else e.detector.load(e.card.cache.objects, device)
            self._extractors[boxes] = ClipExtractor(network, e.detector, settings, device)
        return self._extractors[boxes]


def predict_config(run: Path, card: ModelCard, path: Path | None, words: Sequence[str]) -> Config:
    """Load the settings of a training run for prediction and apply `key=value` words.

    Args:
        run: run folder of the network.
        card: card of the network.
        path: YAML file from which only `detection.weights` is read, or None.
        words: `key=value` words of the command line; they override `path`.

    Raises:
        UsageError: if a word changes a setting that is fixed by the trained network.
    """
    for word in words:
        key = word.partition("=")[0]
        if key in ("boxes", "frames.num", "union") or (
            key.startswith("detection.")
            and key not in ("detection.weights", "detection.batch_size", "detection.config")
        ):
            raise UsageError(
                f"{word!r}: this setting is fixed by the network in {run}; leave it out"
            )
    config = run_config(run, words)
    if path is not None and not any(word.startswith("detection.weights=") for word in words):
        config.detection.weights = load_config(path).detection.weights
    config.frames.num = card.cache.settings.frames
    config.union = UnionKind[card.cache.settings.union]
    return config
