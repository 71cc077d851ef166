"""Explanation of extracted clips by a trained network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from model.label_bank import LabelBank
from model.laiar import LaIAR
from model.token_scorer import TokenScorer
from pipeline.cache.clip import CachedClip
from pipeline.config.schema import Config
from pipeline.evaluation.temperature import probabilities
from pipeline.explanation.builder import Evidence, explain
from pipeline.explanation.familiarity import Familiarity, load_familiarity
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
    """Trained network with its label bank, calibration, settings and detector.

    Attributes:
        model: network in eval mode on `device`.
        card: card of the network.
        bank: label bank that names the tokens.
        calibration: content of `calibration.json`.
        familiarity: distributions of the features of the training videos.
        generator: hashes and versions that are stored in every explanation.
        config: settings of the prediction.
        detector: detector that extracts the clips.
        device: device of the network.
    """

    model: LaIAR
    card: ModelCard
    bank: LabelBank
    calibration: dict[str, Any]
    familiarity: Familiarity
    generator: dict[str, Any]
    config: Config
    detector: ResolvedDetector
    device: torch.device

    def explain(
        self, clip: CachedClip, fingerprint: str, warnings: tuple[str, ...]
    ) -> tuple[dict[str, Any], list[float]]:
        """Explain an extracted clip.

        Args:
            clip: extracted clip. This method samples its frames.
            fingerprint: SHA-256 over everything that determines the result.
            warnings: codes of `pipeline.explanation.builder.WARNINGS` from earlier stages.

        Returns:
            The explanation as JSON, and the scores of all C classes.
        """
        clip = clip.rounded().select(sample_rows(clip, self.card.settings.num_frames))
        tokens = clip_tokens(clip, self.card.settings.max_pairs)
        batch = tokens.batch.to(self.device)
        with torch.inference_mode():
            output = self.model.recognize(batch, gather=True)
            scorer = TokenScorer(self.model, batch)
        evidence = Evidence(clip, tokens, output, scorer, self.calibration)
        tree = explain(
            evidence,
            self.bank,
            self.card,
            fingerprint=fingerprint,
            generator=self.generator,
            top=self.config.predict.top,
            threshold=self.config.predict.threshold,
            warnings=(*warnings, *self.familiarity.warnings(clip, tokens.batch)),
        )
        logits = output.logits.double().cpu().numpy()
        return tree, probabilities(logits, multi_label=self.card.multi_label)[0].tolist()


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
    return Explainer(
        model, card, bank, calibration, familiarity, generator, config, detector, device
    )
