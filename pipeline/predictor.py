"""Prediction and explanation of videos by a trained network."""

from collections.abc import Sequence
from pathlib import Path
from typing import SupportsFloat, overload

import numpy as np

from pipeline.config.loading import load_config
from pipeline.config.schema import Backend, Branch, Config, UnionKind
from pipeline.datasets import Annotations, ClipAnnotation, ReadOptions, read_dataset
from pipeline.datasets.ids import is_safe_id
from pipeline.datasets.spans import span_annotations
from pipeline.datasets.video_files import VideoFile, video_id_of, video_sha256
from pipeline.datasets.vocabulary import Vocabulary, load_vocabulary
from pipeline.decoding import DirectStream
from pipeline.decoding.array_stream import ArrayStream, array_sha256
from pipeline.engine.stage import Task
from pipeline.errors import UsageError
from pipeline.evaluate import run_config
from pipeline.explanation.explanation import Explanation, Generator
from pipeline.explanation.familiarity import load_familiarity
from pipeline.prediction.explainer import Explainer
from pipeline.prediction.job import ExaminedVideo, PredictionJob
from pipeline.runtime.devices import pick_device
from pipeline.runtime.files import file_sha256
from pipeline.runtime.item_errors import as_item_error
from pipeline.runtime.path_lists import reject_url
from pipeline.runtime.run_record import versions
from pipeline.weights.detectors import find_described_detector
from pipeline.weights.model_card import ModelCard
from pipeline.weights.pretrained import DETECTOR, check_folder, find_folder, save_folder
from pipeline.weights.run_folder import (
    BANK,
    CALIBRATION,
    FAMILIARITY,
    WEIGHTS,
    load_bank,
    load_calibration,
    load_laiar,
    read_card,
)

#: Run folder of the network for the synthetic world that the repository contains.
WORLD = Path(__file__).resolve().parent.parent / "configs" / "runs" / "world"


class LaIARPredictor:
    """Trained network that predicts the actions of videos and explains them.

    The detector and the network are loaded once.

    Args:
        explainer: trained network with its detector.
        annotations: annotations of the videos, or None.

    Example::

        predictor = LaIARPredictor.from_run("configs/runs/world")
        explanation = predictor.predict("clip.mp4")
        print(explanation.predictions[0].sentence)
        explanation.save("out/")
    """

    def __init__(self, explainer: Explainer, annotations: Annotations | None = None) -> None:
        self.explainer, self.annotations = explainer, annotations

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
                trained network, or the network has no video branch or no explanations.
        """
        path = None if config is None else Path(config)
        job, read = prepare_prediction(Path(run), settings, path, [*map(Path, annotations)], person)
        return cls(Explainer.load(job, pick_device(job.config.device)), read)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *settings: str,
        revision: str | None = None,
        local_files_only: bool = True,
    ) -> "LaIARPredictor":
        """Load a folder that `save_pretrained` wrote, or a repository of the Hugging Face Hub.

        Every file is compared with its SHA-256. No code of the folder runs.

        Args:
            source: path of the folder, or `USER/NAME` of the Hub.
            *settings: settings such as `device=cpu`.
            revision: branch, tag or commit of the repository.
            local_files_only: if True, nothing is downloaded: the repository must be in the local
                cache of the Hub.

        Raises:
            UsageError: if the folder is missing, incomplete, changed or of another version.
        """
        folder = find_folder(source, revision=revision, local_files_only=local_files_only)
        check_folder(folder)
        return cls.from_run(folder, f"detection.weights={folder / DETECTOR}", *settings)

    def save_pretrained(
        self, out: str | Path, *, licence: str, data: str, limits: str = ""
    ) -> None:
        """Write the network and its detector to a folder in the layout of the Hugging Face Hub.

        Args:
            out: folder to write. `from_pretrained` reads it, and it can be uploaded to the Hub.
            licence: identifier of the licence of the weights, such as `apache-2.0`.
            data: one or two sentences about the training data, for the model card.
            limits: sentences about what the network cannot do, for the model card.

        Raises:
            UsageError: if the detector has no weights file, or an argument is invalid.
        """
        job = self.explainer.job
        if job.detector.path is None:
            raise UsageError("save_pretrained: a detector with a weights file expected")
        save_folder(
            job.run, job.detector.path, Path(out), licence=licence, data=data, limits=limits
        )

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
            UsageError: if a path is a URL. URLs are not fetched. Also if the annotation divides a
                video into spans (`predict_spans`).
        """
        if isinstance(video, np.ndarray):
            return self._predict_array(video, fps, video_id)
        if fps is not None:
            raise ValueError("fps: supported only for an array of frames; leave it out")
        if not isinstance(video, str | Path):
            return [self.predict(each) for each in video]
        file, known = self._known(video)
        if known is not None and known.spans:
            raise UsageError(
                f"{video}: one sample expected, but the annotation divides the video into "
                f"{len(known.spans)} spans; use predict_spans"
            )
        return self._predict_file(file, known)

    def predict_spans(self, video: str | Path) -> list[Explanation]:
        """Predict and explain each annotated span of a video, such as the clips of CAD-120.

        Args:
            video: path of a video.

        Returns:
            An explanation per span, in the order of the annotation. Empty if the video has no
            annotated spans.

        Raises:
            ItemError: if the video cannot be decoded.
            UsageError: if the path is a URL.
        """
        file, known = self._known(video)
        frames = self.explainer.card.cache.settings.frames
        spans = {} if known is None else span_annotations(known, frames)
        return [
            self._predict_file(VideoFile(file.path, name), span) for name, span in spans.items()
        ]

    def _known(self, video: str | Path) -> tuple[VideoFile, ClipAnnotation | None]:
        """Return the file and the annotation of a video."""
        reject_url(video, "video")
        dumped = self.explainer.job.config.decode.backend is Backend.frames
        file = VideoFile(Path(video), video_id_of(Path(video), dumped=dumped))
        return file, self.annotations.of_video(file.video_id) if self.annotations else None

    def _predict_file(self, file: VideoFile, known: ClipAnnotation | None) -> Explanation:
        with as_item_error(str(file.path)):
            found = self._examine(file, video_sha256(file.path), known)
            return self.explainer.explain(found, DirectStream(found.request)).explanation

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
        known = self.annotations.of_video(video_id) if self.annotations else None
        found = self._examine(
            VideoFile(Path(video_id), video_id), array_sha256(frames, rate), known
        )
        return self.explainer.explain(found, ArrayStream(frames, rate, found.request)).explanation

    def _examine(
        self, video: VideoFile, sha256: str, known: ClipAnnotation | None
    ) -> ExaminedVideo:
        return self.explainer.job.examine(Task(video, known), sha256)


def prepare_prediction(
    run: Path,
    words: Sequence[str],
    config: Path | None = None,
    annotations: Sequence[Path] = (),
    person: int | None = None,
) -> tuple[PredictionJob, Annotations | None]:
    """Read the inputs of a prediction and check them.

    See `LaIARPredictor.from_run` for the arguments and errors.
    """
    card = read_card(run)
    if card.branch != Branch.both.name:
        raise UsageError(
            f"--run: a network with a video branch expected, {run} was trained with "
            f"branch={card.branch}; train one with branch=both"
        )
    made = predict_config(run, card, config, words)
    _, card = load_laiar(run, "cpu", tolerance=made.model.tolerance)
    detector = find_described_detector(card.cache.detector, made.detection)
    read = None
    if annotations:
        known, settings = load_vocabulary(made.vocabulary), card.cache.settings
        options = ReadOptions(settings.pairs or (), frames=settings.frames)
        read = read_dataset(made.dataset.value, annotations, known, options)
    bank, calibration = load_bank(run, card), load_calibration(run, card)
    familiarity = load_familiarity(run, card)
    generator = Generator(
        model_sha256=file_sha256(run / WEIGHTS),
        label_bank_sha256=file_sha256(run / BANK),
        calibration_sha256=file_sha256(run / CALIBRATION),
        familiarity_sha256=file_sha256(run / FAMILIARITY),
        detector=detector.to_dict(),
        preset=card.settings.preset,
        relations_in_training=card.relations,
        versions=versions(),
    )
    job = PredictionJob(
        run=run.absolute(),
        config=made,
        card=card,
        bank=bank,
        calibration=calibration,
        familiarity=familiarity,
        generator=generator,
        detector=detector,
        vocabulary=network_vocabulary(card),
        label_classes=read.classes if read else None,
        person=person,
    )
    return job, read


def network_vocabulary(card: ModelCard) -> Vocabulary:
    """Return the vocabulary of a network, with its kinds of pairs and its aliases.

    Raises:
        UsageError: if the network was trained with kinds of pairs, and the vocabulary's file is
            missing or has other names.
    """
    cache = card.cache
    try:
        known = load_vocabulary(cache.settings.vocabulary)
        if (known.objects, known.predicate_groups) == (cache.objects, cache.predicate_groups):
            return known
        problem = "the file has other object classes or predicates"
    except UsageError as error:
        problem = str(error)
    if cache.settings.pairs:
        raise UsageError(f"vocabulary={cache.settings.vocabulary} of the network: {problem}")
    return Vocabulary(cache.objects, cache.predicate_groups)


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
