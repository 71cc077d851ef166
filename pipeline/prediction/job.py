"""Inputs of a prediction, checked before the networks are built."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from model.label_bank import LabelBank
from pipeline.cache.folder import ExtractionSettings
from pipeline.config.schema import Config
from pipeline.datasets import ClipAnnotation
from pipeline.datasets.vocabulary import Vocabulary
from pipeline.decoding import FrameRequest
from pipeline.engine.stage import Examined, Task
from pipeline.errors import UsageError
from pipeline.explanation.explanation import Explanation, Generator, reads_people
from pipeline.explanation.familiarity import Familiarity
from pipeline.explanation.observations import Pairs
from pipeline.extraction.clip import clip_fingerprint, decode_options, frame_request
from pipeline.runtime.files import json_sha256
from pipeline.weights.detectors import ResolvedDetector
from pipeline.weights.model_card import ModelCard


@dataclass(frozen=True)
class ExaminedVideo(Examined):
    """Video that can be explained.

    Attributes:
        request: request for the frames that the network reads.
        boxes: source of the boxes, `detected` or `ground-truth`.
        labels: id and name of each annotated action, or None.
        clip_fingerprint: fingerprint of the extracted clip.
    """

    request: FrameRequest
    boxes: str
    labels: tuple[tuple[str, str], ...] | None
    clip_fingerprint: str


@dataclass(frozen=True)
class PredictionJob:
    """Inputs of a prediction, checked before the networks are built.

    Attributes:
        run: run folder of the network.
        config: settings of the prediction.
        card: card of the network.
        bank: label bank that names the tokens.
        calibration: content of `calibration.json`.
        familiarity: distributions of the features of the training videos.
        generator: hashes and versions that are stored in every explanation.
        detector: description of the detector.
        vocabulary: names of the object classes and predicates.
        label_classes: id and name of each action class of the annotations, or None without
            annotations.
        person: number of the person whose relations are used, or None for the person with the
            highest score in each frame.
    """

    run: Path
    config: Config
    card: ModelCard
    bank: LabelBank
    calibration: dict[str, Any]
    familiarity: Familiarity
    generator: Generator
    detector: ResolvedDetector
    vocabulary: Vocabulary
    label_classes: tuple[tuple[str, str], ...] | None
    person: int | None

    def __post_init__(self) -> None:
        if self.person is not None and not (type(self.person) is int and self.person >= 1):
            raise UsageError(f"--person: a number of at least 1 expected, got {self.person}")
        if self.person is not None and not reads_people(self.pairs):
            kinds = ", ".join(kind.name for kind in self.pairs)
            raise UsageError(
                f"--person: a network that pairs the person expected, {self.run} has the pairs "
                f"{kinds}; leave it out"
            )

    @property
    def pairs(self) -> tuple[Pairs, ...]:
        """Kinds of pairs that the network reads, see `Explanation.pairs`."""
        known = self.vocabulary.pairs
        names = self.card.cache.settings.pairs or ()
        return tuple(Pairs(name, known[name].subject, known[name].objects) for name in names)

    def settings(self, boxes: str) -> ExtractionSettings:
        """Return the settings of the extraction.

        Args:
            boxes: source of the boxes, `detected` or `ground-truth`.
        """
        decode = self.config.decode
        return replace(
            self.card.cache.settings,
            boxes=boxes,
            tolerant=decode.tolerant,
            backend=decode.backend.value,
            fps=decode.fps,
        )

    def examine(self, task: Task, sha256: str) -> ExaminedVideo:
        """Prepare the explanation of a video without decoding it.

        Args:
            task: task of the video.
            sha256: SHA-256 of the video.
        """
        card, config, known = self.card, self.config, task.annotation
        is_given = (
            card.cache.settings.boxes == "ground-truth" and known is not None and bool(known.frames)
        )
        boxes = "ground-truth" if is_given else "detected"
        settings, labels = self.settings(boxes), self._labels(known)
        request = frame_request(
            task.video.path,
            sha256,
            known,
            settings,
            options=decode_options(config.decode),
            batch_size=config.detection.batch_size,
        )
        limit = config.predict.window_s
        window_s = None if is_given else (card.longest_s if limit is None else limit) or None
        num, ends = card.settings.num_frames, card.settings.sample_ends
        request = replace(request, num_sampled=num, ends=ends, window_s=window_s)
        inner = clip_fingerprint(sha256, settings, self.detector, known)
        limits = [
            Explanation.SCHEMA, config.predict.top, config.predict.threshold,
            config.model.tolerance, window_s, self.person, labels,
        ]  # fmt: skip
        fingerprint = json_sha256([inner, self.generator.to_dict(), *limits])
        return ExaminedVideo(task, sha256, fingerprint, request, boxes, labels, inner)

    def _labels(self, known: ClipAnnotation | None) -> tuple[tuple[str, str], ...] | None:
        """Return the annotated actions that are classes of the network."""
        if self.label_classes is None or known is None or not known.is_labelled:
            return None
        rows = {self.label_classes[c] for actions in known.labels().values() for c in actions}
        ids = {class_id for class_id, _ in self.card.classes}
        return tuple(sorted(row for row in rows if self.card.columns is None or row[0] in ids))
