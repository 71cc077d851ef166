"""Explanation of extracted clips by a trained network."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from pipeline.cache.clip import CachedClip
from pipeline.config.schema import Config
from pipeline.evaluation.temperature import probabilities
from pipeline.explanation.builder import build_explanation
from pipeline.explanation.explained_clip import Network, explain_clip
from pipeline.explanation.explanation import Explanation
from pipeline.explanation.familiarity import Familiarity, load_familiarity
from pipeline.explanation.thumbnails import Thumbnails
from pipeline.explanation.windows import WindowChoice
from pipeline.extraction.person_choice import PersonChoice
from pipeline.runtime.files import file_sha256
from pipeline.runtime.run_record import versions
from pipeline.samples.clip_tokens import clip_tokens
from pipeline.samples.dataset import sample_rows
from pipeline.weights.detectors import ResolvedDetector
from pipeline.weights.model_card import ModelCard
from pipeline.weights.run_folder import (
    BANK,
    CALIBRATION,
    FAMILIARITY,
    WEIGHTS,
    load_bank,
    load_calibration,
    load_model,
)


@dataclass(frozen=True)
class Explainer:
    """Trained network with its settings and detector.

    Attributes:
        network: network with its label bank and calibration.
        familiarity: distributions of the features of the training videos.
        generator: hashes and versions that are stored in every explanation.
        config: settings of the prediction.
        detector: detector that extracts the clips.
    """

    network: Network
    familiarity: Familiarity
    generator: dict[str, Any]
    config: Config
    detector: ResolvedDetector

    @property
    def card(self) -> ModelCard:
        """Card of the network."""
        return self.network.card

    def explain(
        self,
        windows: Iterable[CachedClip],
        fingerprint: str,
        *,
        people: PersonChoice,
        images: Thumbnails,
        labels: Sequence[tuple[str, str]] | None = None,
        warnings: Sequence[str] = (),
    ) -> tuple[Explanation, list[float]]:
        """Explain an extracted video.

        Args:
            windows: extracted windows of the video in order of time. This method samples their
                frames.
            fingerprint: SHA-256 over everything that determines the result.
            people: the people of the video, counted during the extraction.
            images: images of the decoded frames.
            labels: id and name of each annotated action, or None.
            warnings: codes of `pipeline.explanation.explanation.WARNINGS` from earlier stages.

        Returns:
            The explanation, and the highest score of each of the C classes in a window.
        """
        network, settings = self.network, self.card.settings
        choice = WindowChoice(self.config.predict.top)
        for clip in windows:
            clip = clip.rounded().select(sample_rows(clip, settings.num_frames))
            output = network.recognize(clip_tokens(clip, settings.max_pairs).batch)
            logits = output.logits.double().cpu().numpy()
            scores = probabilities(logits, multi_label=self.card.multi_label)[0]
            choice.add(clip, torch.from_numpy(scores))
            images.keep(choice.frames(), since=int(clip.frame_index[0]))
        explained, unfamiliar = {}, False
        for number, clip in choice.clips.items():
            mine = [c for c in choice.actions() if choice.window_of(c) == number]
            found = explain_clip(network, clip, actions=mine)
            unfamiliar |= bool(self.familiarity.warnings(clip, found.clip_tokens.batch))
            explained[number] = found
        assert images.source is not None  # all frames are decoded
        codes = {"UNFAMILIAR": unfamiliar, "SEVERAL_PEOPLE": people.has_several()}
        explanation = build_explanation(
            network,
            choice,
            explained,
            fingerprint=fingerprint,
            generator=self.generator,
            threshold=self.config.predict.threshold,
            source=images.source,
            people=people,
            labels=labels,
            warnings=(*warnings, *(code for code, holds in codes.items() if holds)),
        )
        images.keep(choice.frames(), since=sys.maxsize)
        return replace(explanation, images=images.images), choice.best.tolist()


def load_explainer(
    run: Path, config: Config, detector: ResolvedDetector, device: torch.device
) -> Explainer:
    """Load a network, its label bank, calibration and familiarity from a run folder.

    Raises:
        UsageError: if a file is missing or damaged.
    """
    model, card = load_model(run, device, tolerance=config.model.tolerance)
    bank = load_bank(run, card)
    calibration, familiarity = load_calibration(run, card), load_familiarity(run, card)
    generator = {
        "model_sha256": file_sha256(run / WEIGHTS),
        "label_bank_sha256": file_sha256(run / BANK),
        "calibration_sha256": file_sha256(run / CALIBRATION),
        "familiarity_sha256": file_sha256(run / FAMILIARITY),
        "detector": detector.to_dict(),
        "preset": card.settings.preset,
        "relations_in_training": card.relations,
        "versions": versions(),
    }
    network = Network(model, card, bank, calibration, device)
    return Explainer(network, familiarity, generator, config, detector)
