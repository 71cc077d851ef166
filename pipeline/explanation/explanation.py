"""Explanations as frozen types (`configs/schemas/explanation.schema.json`)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from pipeline.config.typed_json import TypedJson
from pipeline.explanation.edits import Edit, Edited, edited_fingerprint
from pipeline.explanation.formats import DEFAULT, Format
from pipeline.explanation.observations import (
    PERSON,
    Pairs,
    People,
    Sampling,
    Token,
    Track,
    Transition,
    Video,
    Window,
)
from pipeline.explanation.predictions import Prediction
from pipeline.runtime.command_line import parse_names

WARNINGS = {
    "RANDOM_WEIGHTS": "the detector is untrained; its boxes and features are meaningless",
    "DECODE_DEGRADED": "the file is damaged or truncated; only its decodable frames are used",
    "RESCALED_FRAMES": "the frame size changes in the video; frames are scaled to the first size",
    "RESCALED_BOXES": "the annotated boxes are scaled to the frames, which have another size",
    "DETECTED_BOXES": "the network was trained on annotated boxes; this video has detected boxes",
    "NO_PERSON": "no sampled frame shows a person",
    "NO_OBJECT": "no sampled frame shows a person with an object",
    "NO_PAIR": "no sampled frame shows a pair of boxes that the network reads",
    "ABSENT_PERSON": "no sampled frame shows the chosen person; see the numbers of the people",
    "EMPTY_SELECTION": "no token is kept; the [class] token alone determines the scores",
    "LOW_MARGIN": "some names of kept tokens are uncertain or unknown",
    "UNCALIBRATED": "the run has no validation videos; the accuracy of names is unknown",
    "NOT_STRICT": "discarded tokens can change the scores of this network (preset paper)",
    "UNFAMILIAR": "this video is unlike the training videos; scores and names can be wrong",
    "SHORT_CLIP": "the video has fewer sampled frames than the network was trained with",
    "SEVERAL_PEOPLE": "several people are visible; only the relations of one person are used",
}


def reads_people(pairs: Sequence[Pairs]) -> bool:
    """Return whether a network with some kinds of pairs reads pairs of the person."""
    return not pairs or any(kind.subject == PERSON for kind in pairs)


@dataclass(frozen=True)
class Warned(TypedJson):
    """Warning about an explanation.

    Attributes:
        code: code of `WARNINGS`.
        message: its meaning.
    """

    code: str
    message: str


@dataclass(frozen=True)
class Generator(TypedJson):
    """What produced an explanation.

    Attributes:
        model_sha256: SHA-256 of the weights of the network.
        label_bank_sha256: SHA-256 of the label bank.
        calibration_sha256: SHA-256 of the calibration.
        familiarity_sha256: SHA-256 of the distributions of the training features.
        detector: settings of the detector and the SHA-256 of its weights.
        preset: preset of the network, `strict` or `paper`.
        relations_in_training: relation source of the training.
        versions: versions of the packages.
    """

    model_sha256: str
    label_bank_sha256: str
    calibration_sha256: str
    familiarity_sha256: str
    detector: dict[str, Any]
    preset: str
    relations_in_training: str
    versions: dict[str, Any]


@runtime_checkable
class Editable(Protocol):
    """Explained video whose named relations can be edited (`what_if.EditableVideo`)."""

    def parse(self, text: str) -> Edit: ...  # noqa: D102

    def edited(self, edits: Sequence[Edit], predictions: Sequence[Prediction]) -> Edited: ...  # noqa: D102


@dataclass(frozen=True)
class Explanation(TypedJson):
    """Predicted actions of a video with their reasons.

    A video that is longer than `predict.window_s` is explained in overlapping windows. Each
    prediction is that of the window in which its score is highest. Frames, tokens, tracks and
    transitions are those of the windows that `predictions` refer to.

    Attributes:
        fingerprint: SHA-256 over everything that determines the explanation.
        generator: what produced the explanation.
        video: the video.
        vocabulary: name of the vocabulary.
        boxes: `detected` or `ground-truth`.
        pairs: kinds of pairs that the network reads. Empty if the person is paired with every other
            box.
        people: the people of the video.
        sampling: the sampled frames.
        windows: all windows of the video; one for a short video.
        tracks: the objects.
        tokens: all tokens, also those that are discarded.
        transitions: changes of named relations.
        predictions: the actions with the highest scores, in descending order.
        warnings: warnings.
        edited: what the network predicts after edits (`what_if`), or None without edits.
        images: JPEG data of sampled frames by frame index. Not part of the JSON.
        editable: the network's view of the video, or None if the explanation was read from a file.
            Not part of the JSON.

    Raises:
        ValueError: if an id of a token, transition or window does not exist.
    """

    SCHEMA: ClassVar[str] = "laiar.explanation/6"

    fingerprint: str
    generator: Generator
    video: Video
    vocabulary: str
    boxes: str
    pairs: tuple[Pairs, ...]
    people: People
    sampling: Sampling
    windows: tuple[Window, ...]
    tracks: tuple[Track, ...]
    tokens: tuple[Token, ...]
    transitions: tuple[Transition, ...]
    predictions: tuple[Prediction, ...]
    warnings: tuple[Warned, ...]
    edited: Edited | None = None
    images: dict[int, bytes] = field(default_factory=dict, repr=False, compare=False)
    editable: Editable | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("windows", "tokens", "transitions"):
            ids = [row.id for row in getattr(self, name)]
            if ids != [*range(len(ids))]:
                raise ValueError(f"{name}: ids from 0 in ascending order expected")
        num, changes = range(len(self.tokens)), range(len(self.transitions))
        for row in self.predictions:
            mine = [*row.reason.tokens, *(part.token for part in row.evidence)]
            known = all(token in num for token in mine)
            known = known and all(part.transition in changes for part in row.transitions)
            if not known or row.window not in range(len(self.windows)):
                raise ValueError(f"predictions: {row.class_id} refers to an unknown id")
        used = [token for track in self.tracks for token in track.tokens]
        used += [token for row in self.transitions for token in row.tokens]
        if not all(token in num for token in used):
            raise ValueError("tracks, transitions: a row refers to an unknown token")

    @property
    def has_people(self) -> bool:
        """Whether the network reads pairs of the person."""
        return reads_people(self.pairs)

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as JSON, without the images."""
        tree = super(Explanation, replace(self, images={}, editable=None)).to_dict()
        del tree["images"], tree["editable"]
        return tree

    def what_if(self, *edits: str | Edit) -> "Explanation":
        """Predict the video after edits of its named relations.

        The selection of the tokens stays as it is.

        Args:
            *edits: edits such as "1.2-3.4 cup holding=>not_contacting", made one after the other,
                after those in `edited`.

        Returns:
            This explanation with `edited`.

        Raises:
            ValueError: if the explanation was read from a file, which contains no network.
            UsageError: if an edit has another form, or one of its words is unknown.
            ItemError: NO_SUCH_RELATION if no token has the predicate of an edit.

        Example::

            changed = explanation.what_if("1.2-3.4 cup holding=>not_contacting")
            for row in changed.edited.predictions:
                print(row.name, row.score_before, row.score)
        """
        if self.editable is None:
            raise ValueError("what_if: an explanation of LaIARPredictor.predict expected")
        made = [self.editable.parse(edit) if isinstance(edit, str) else edit for edit in edits]
        if not made:
            return self
        every = [*(self.edited.edits if self.edited else ()), *made]
        return replace(
            self,
            fingerprint=edited_fingerprint(self.fingerprint, made),
            edited=self.editable.edited(every, self.predictions),
        )

    def save(
        self,
        out: str | Path,
        formats: Collection[str] = DEFAULT,
        video: str | Path | np.ndarray | None = None,
    ) -> None:
        """Write the files of the explanation to `OUT/ID/`.

        Args:
            out: output folder, which is created if it does not exist.
            formats: `json`, `html`, `sheet`, `vtt` and `video` write `explanation.json`,
                `report.html`, `sheet.png`, `captions.vtt` and `annotated.mp4`.
            video: the explained video, which is required for `annotated.mp4`: its path, or its
                frames as a (T, H, W, 3) uint8 array of RGB images.

        Raises:
            UsageError: if a format is unknown.
            ItemError: if the video cannot be decoded.
            OSError: if a file cannot be written.
            ValueError: if `annotated.mp4` is requested without the video.
        """
        from pipeline.explanation.output import save  # it imports this module

        source = Path(video) if isinstance(video, str) else video
        save(self, Path(out), parse_names(formats, Format, "--format"), source)
