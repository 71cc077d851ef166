"""Explanations as frozen types (`configs/schemas/explanation.schema.json`)."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from pipeline.config.typed_json import TypedJson
from pipeline.explanation.observations import (
    People,
    Sampling,
    Token,
    Track,
    Transition,
    Video,
    Window,
)
from pipeline.runtime.files import write_json

WARNINGS = {
    "RANDOM_WEIGHTS": "the detector is untrained; its boxes and features are meaningless",
    "DECODE_DEGRADED": "the file is damaged or truncated; only its decodable frames are used",
    "DETECTED_BOXES": "the network was trained on annotated boxes; this video has detected boxes",
    "NO_PERSON": "no sampled frame shows a person",
    "NO_OBJECT": "no sampled frame shows a person with an object",
    "ABSENT_PERSON": "no sampled frame shows the chosen person; see the numbers of the people",
    "EMPTY_SELECTION": "no token is kept; the [class] token alone determines the scores",
    "LOW_MARGIN": "some names of kept tokens are uncertain or unknown",
    "UNCALIBRATED": "the run has no validation videos; the accuracy of names is unknown",
    "NOT_STRICT": "discarded tokens can change the scores of this network (preset paper)",
    "UNFAMILIAR": "this video is unlike the training videos; scores and names can be wrong",
    "SHORT_CLIP": "the video has fewer sampled frames than the network was trained with",
    "SEVERAL_PEOPLE": "several people are visible; only the relations of one person are used",
}


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


@dataclass(frozen=True)
class TokenContribution(TypedJson):
    """Contribution of a token to an action.

    Attributes:
        token: the token.
        contribution: logit with the token, less the logit without it.
    """

    token: int
    contribution: float


@dataclass(frozen=True)
class TransitionContribution(TypedJson):
    """Contribution of both tokens of a transition to an action.

    Attributes:
        transition: the transition.
        contribution: sum of the contributions of its tokens.
    """

    transition: int
    contribution: float


@dataclass(frozen=True)
class Statement(TypedJson):
    """What one track states in a reason.

    Attributes:
        kind: `change`, `lasting` or `none`.
        object: object class, or None.
        track: track of the object, or None.
        group: predicate group, or None.
        from_: predicate before a change, or None.
        to: predicate after a change, or lasting predicate, or None.
        between_s: times in seconds, or None.
    """

    kind: str
    object: str | None
    track: int | None
    group: str | None
    from_: str | None
    to: str | None
    between_s: tuple[float, float] | None


@dataclass(frozen=True)
class Reason(Statement):
    """Reason of an action, see `docs/reasons.md`.

    Attributes:
        tokens: tokens of the minimal reason R.
        score_only: score from R alone, p(R).
        score_without: score from the other kept tokens, p(S - R).
        score_without_track: score from the kept tokens of the other tracks, or None.
        score_if_unchanged: score if the change is undone, or None.
        also: what the other tracks of R state.
    """

    tokens: tuple[int, ...]
    score_only: float
    score_without: float
    score_without_track: float | None
    score_if_unchanged: float | None
    also: tuple[Statement, ...]


@dataclass(frozen=True)
class Prediction(TypedJson):
    """Predicted action.

    Attributes:
        rank: rank by score, from 1.
        class_id: id of the action class.
        name: name of the action class.
        score: score.
        score_calibrated: score with the temperature of the run.
        logit: logit of the score.
        is_present: whether the score is at least `predict.threshold`.
        window: window with the highest score, which is explained.
        evidence: contribution of each kept token of the window, in descending order.
        transitions: transitions with a positive contribution, in descending order.
        reason: the reason.
        sentence: the reason in words.
    """

    rank: int
    class_id: str
    name: str
    score: float
    score_calibrated: float
    logit: float
    is_present: bool
    window: int
    evidence: tuple[TokenContribution, ...]
    transitions: tuple[TransitionContribution, ...]
    reason: Reason
    sentence: str


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
        boxes: `detected` or `ground-truth`.
        people: the people of the video.
        sampling: the sampled frames.
        windows: all windows of the video; one for a short video.
        tracks: the objects.
        tokens: all tokens, also those that are discarded.
        transitions: changes of named relations.
        predictions: the actions with the highest scores, in descending order.
        warnings: warnings.
        images: JPEG data of sampled frames by frame index. Not part of the JSON.

    Raises:
        ValueError: if an id of a token, transition or window does not exist.
    """

    SCHEMA: ClassVar[str] = "laiar.explanation/4"

    fingerprint: str
    generator: Generator
    video: Video
    boxes: str
    people: People
    sampling: Sampling
    windows: tuple[Window, ...]
    tracks: tuple[Track, ...]
    tokens: tuple[Token, ...]
    transitions: tuple[Transition, ...]
    predictions: tuple[Prediction, ...]
    warnings: tuple[Warned, ...]
    images: dict[int, bytes] = field(default_factory=dict, repr=False, compare=False)

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

    def to_dict(self) -> dict[str, Any]:
        """Return the explanation as JSON, without the images."""
        tree = super(Explanation, replace(self, images={})).to_dict()
        del tree["images"]
        return tree

    def save(self, out: str | Path) -> None:
        """Write `ID/explanation.json`, `ID/report.html` and `ID/entry.json` to a folder.

        Args:
            out: output folder, which is created if it does not exist.
        """
        from pipeline.explanation.report.files import write_report  # it imports this module

        folder = Path(out) / self.video.id
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "explanation.json", self.to_dict())
        write_report(self, Path(out))
