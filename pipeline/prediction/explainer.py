"""Trained network and its detector on a device."""

import sys
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from detection.detector import Detector
from pipeline.cache.union_features import reduce_union
from pipeline.decoding import FrameStream
from pipeline.evaluation.temperature import probabilities
from pipeline.explanation.builder import build_explanation
from pipeline.explanation.explained_clip import Network, explain_clip
from pipeline.explanation.explanation import Explanation
from pipeline.explanation.thumbnails import Thumbnails
from pipeline.explanation.windows import WindowChoice
from pipeline.extraction.clip import ClipExtractor
from pipeline.extraction.person_choice import PersonChoice
from pipeline.prediction.job import ExaminedVideo, PredictionJob
from pipeline.samples.clip_tokens import clip_tokens
from pipeline.samples.dataset import sample_rows
from pipeline.weights.loading import BUILDING
from pipeline.weights.model_card import ModelCard
from pipeline.weights.run_folder import load_laiar


@dataclass(frozen=True)
class Explained:
    """Explained video.

    Attributes:
        explanation: the explanation.
        scores: highest score of each of the C action classes in a window.
    """

    explanation: Explanation
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Explainer:
    """Trained network with its detector on one device.

    Attributes:
        job: inputs of the prediction.
        network: network with its label bank and calibration.
    """

    job: PredictionJob
    network: Network

    @classmethod
    def load(cls, job: PredictionJob, device: torch.device) -> "Explainer":
        """Load the network. The detector is loaded when it is first used.

        Raises:
            UsageError: if a file is missing or damaged.
        """
        with BUILDING:
            model, card = load_laiar(job.run, device, tolerance=job.config.model.tolerance)
        return cls(job, Network(model, card, job.bank, job.calibration, device))

    @property
    def card(self) -> ModelCard:
        """Card of the network."""
        return self.network.card

    def explain(self, found: ExaminedVideo, frames: FrameStream) -> Explained:
        """Explain a video.

        Args:
            found: the examined video.
            frames: its decoded frames, as requested by `found.request`.

        Raises:
            ItemError: if the video cannot be decoded.
        """
        job, network, settings = self.job, self.network, self.card.settings
        extracted = job.settings(found.boxes)
        extractor = ClipExtractor(
            self._detector, job.detector, extracted, network.device, job.vocabulary
        )
        people, images = PersonChoice(job.person, extractor.kinds), Thumbnails(frames)
        windows = extractor.windows(
            images,
            found.task.video_id,
            found.request,
            fingerprint=found.clip_fingerprint,
            annotation=found.task.annotation,
            people=people,
        )
        choice = WindowChoice(job.config.predict.top)
        for clip in windows:
            clip = reduce_union(clip, extracted.union).rounded()
            clip = clip.select(sample_rows(clip, settings.num_frames, ends=settings.sample_ends))
            output = network.recognize(clip_tokens(clip, settings.max_pairs).batch)
            logits = output.logits.double().cpu().numpy()
            scores = probabilities(logits, multi_label=self.card.multi_label)[0]
            choice.add(clip, torch.from_numpy(scores))
            images.keep(choice.frames(), since=int(clip.frame_index[0]))
        explained, unfamiliar = {}, False
        for number, clip in choice.clips.items():
            mine = [c for c in choice.actions() if choice.window_of(c) == number]
            part = explain_clip(network, clip, actions=mine)
            unfamiliar |= bool(job.familiarity.warnings(clip, part.clip_tokens.batch))
            explained[number] = part
        assert images.source is not None  # all frames are decoded
        codes = {
            "DETECTED_BOXES": found.boxes != self.card.cache.settings.boxes == "ground-truth",
            "UNFAMILIAR": unfamiliar,
            "SEVERAL_PEOPLE": people.has_several(),
        }
        explanation = build_explanation(
            network,
            choice,
            explained,
            fingerprint=found.fingerprint,
            generator=job.generator,
            threshold=job.config.predict.threshold,
            source=images.source,
            people=people,
            pairs=job.pairs,
            labels=found.labels,
            warnings=tuple(code for code, holds in codes.items() if holds),
        )
        images.keep(choice.frames(), since=sys.maxsize)
        return Explained(replace(explanation, images=images.images), tuple(choice.best.tolist()))

    @cached_property
    def _detector(self) -> Detector:
        with BUILDING:
            words = self.job.vocabulary
            return self.job.detector.load(words.objects, self.network.device, words.aliases)
