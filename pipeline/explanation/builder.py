"""Construction of explanations (`configs/schemas/explanation.schema.json`).

Every field is computed from the kept tokens, the scores of subsets of the tokens, or the names from
the label bank. The sentence is generated from the fields of the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pipeline.decoding.video_source import VideoSource
from pipeline.evaluation.temperature import probabilities
from pipeline.explanation.explained_clip import ExplainedClip, Network
from pipeline.explanation.explanation import WARNINGS, Explanation, Generator, reads_people
from pipeline.explanation.observations import Frame, Pairs, Token, Track, Transition
from pipeline.explanation.predictions import Prediction
from pipeline.explanation.reason import renumbered
from pipeline.explanation.sentences import sentence_of
from pipeline.explanation.what_if import EditableVideo, EditableWindow
from pipeline.explanation.windows import WindowChoice
from pipeline.explanation.wording import load_wording
from pipeline.extraction.person_choice import PersonChoice


@dataclass(frozen=True)
class _Rows:
    """Frames, tracks, tokens and transitions of windows, numbered through the video."""

    frames: list[Frame] = field(default_factory=list)
    tracks: list[Track] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)


def build_explanation(
    network: Network,
    windows: WindowChoice,
    explained: dict[int, ExplainedClip],
    *,
    fingerprint: str,
    generator: Generator,
    threshold: float,
    source: VideoSource,
    people: PersonChoice,
    pairs: Sequence[Pairs] = (),
    labels: Sequence[tuple[str, str]] | None = None,
    warnings: Sequence[str] = (),
) -> Explanation:
    """Build the explanation of one video.

    Args:
        network: the network.
        windows: windows of the video.
        explained: chosen windows with the reasons of the actions that they explain, by number.
        fingerprint: SHA-256 over everything that determines the result.
        generator: `generator` of the explanation.
        threshold: smallest score of an action that is reported as present.
        source: properties of the video.
        people: the people of the video.
        pairs: kinds of pairs that the network reads, see `Explanation`.
        labels: id and name of each annotated action, or None.
        warnings: codes of `WARNINGS` from earlier stages.
    """
    actions = windows.actions()
    rows = _Rows()
    predictions: dict[int, Prediction] = {}
    editable: dict[int, EditableWindow] = {}
    for number, found in sorted(explained.items()):
        editable[number] = EditableWindow(found, len(rows.tracks), len(rows.tokens))
        for rank, action in enumerate(actions, 1):
            if windows.window_of(action) == number:
                predictions[action] = _prediction(
                    network, found, action, rows, rank=rank, window=number, threshold=threshold
                )
        _add(rows, found, number)
    first = next(iter(explained.values())).clip
    observed = [
        code for found in explained.values() for code in _observed(network, found, people, pairs)
    ]
    found_late = {"DECODE_DEGRADED": source.is_degraded, "RESCALED_FRAMES": source.is_rescaled}
    late = [code for code, holds in found_late.items() if holds]  # after the first window
    codes = dict.fromkeys((*first.header.warnings, *late, *warnings, *observed))
    tree = {
        "schema": Explanation.SCHEMA,
        "fingerprint": fingerprint,
        "generator": generator.to_dict(),
        "video": source.to_dict()
        | {
            "id": first.video_id,
            "labels": None
            if labels is None
            else [{"class_id": class_id, "name": name} for class_id, name in labels],
        },
        "vocabulary": network.card.cache.settings.vocabulary,
        "boxes": first.header.boxes,
        "pairs": [kind.to_dict() for kind in pairs],
        "people": people.to_dict(),
        "sampling": {"policy": "segment-centres", "frames": [row.to_dict() for row in rows.frames]},
        "windows": [
            {
                "id": number,
                "between_s": [*between_s],
                "scores": [float(scores[action]) for action in actions],
            }
            for number, (between_s, scores) in enumerate(
                zip(windows.between_s, windows.scores, strict=True)
            )
        ],
        "tracks": [row.to_dict() for row in rows.tracks],
        "tokens": [row.to_dict() for row in rows.tokens],
        "transitions": [row.to_dict() for row in rows.transitions],
        "predictions": [predictions[action].to_dict() for action in actions],
        "warnings": [{"code": code, "message": WARNINGS[code]} for code in codes],
        "edited": None,
    }
    return replace(
        Explanation.from_dict(tree),
        editable=EditableVideo(network, first.video_id, editable, threshold),
    )


def find_tracks(tokens: Sequence[Token]) -> list[Track]:
    """Return the tokens of each track, in order of time."""
    tracks: dict[int, list[Token]] = {}
    for token in tokens:
        tracks.setdefault(token.track, []).append(token)
    return [
        Track(number, found[0].object.class_, tuple(token.id for token in found))
        for number, found in sorted(tracks.items())
    ]


def _add(rows: _Rows, found: ExplainedClip, number: int) -> None:
    """Add the frames, tokens, tracks and transitions of a window to those of earlier windows."""
    frame, track, token, transition = (len(part) for part in vars(rows).values())
    clip, own = found.clip, found.tokens.rows
    kept = {row.t for row in own if row.keep}
    times = zip(clip.frame_index.tolist(), clip.timestamps_s.tolist(), strict=True)
    rows.frames.extend(
        Frame(frame + t, number, index, time_s, t in kept)
        for t, (index, time_s) in enumerate(times)
    )
    tokens = [
        replace(row, id=token + row.id, t=frame + row.t, track=track + row.track) for row in own
    ]
    rows.tokens.extend(tokens)
    rows.tracks.extend(find_tracks(tokens))
    for row in found.transitions:
        first, second = row.tokens
        ends = token + first, token + second
        rows.transitions.append(
            replace(row, id=transition + row.id, track=track + row.track, tokens=ends)
        )


def _prediction(
    network: Network,
    found: ExplainedClip,
    action: int,
    rows: _Rows,
    *,
    rank: int,
    window: int,
    threshold: float,
) -> Prediction:
    """Return the prediction of an action from its window, which follows the windows of `rows`."""
    card, reason, support = network.card, found.reasons[action], found.support[action]
    class_id, name = card.classes[action]
    calibrated = probabilities(
        found.logits[None].numpy(),
        network.calibration["scores"]["temperature"],
        multi_label=card.multi_label,
    )
    return Prediction(
        rank=rank,
        class_id=class_id,
        name=name,
        score=found.scores[action],
        score_calibrated=float(calibrated[0, action]),
        logit=float(found.logits[action]),
        is_present=found.scores[action] >= threshold,
        window=window,
        evidence=tuple(
            replace(part, token=len(rows.tokens) + part.token) for part in support.evidence
        ),
        transitions=tuple(
            replace(part, transition=len(rows.transitions) + part.transition)
            for part in support.transitions
        ),
        reason=renumbered(reason, tracks=len(rows.tracks), tokens=len(rows.tokens)),
        sentence=sentence_of(
            name,
            found.scores[action],
            reason,
            found.tokens.rows,
            load_wording(card.cache.settings.vocabulary),
        ),
    )


def _observed(
    network: Network, found: ExplainedClip, people: PersonChoice, pairs: Sequence[Pairs]
) -> list[str]:
    """Return the warning codes that are determined from the result."""
    clip, settings, rows = found.clip, network.card.settings, found.tokens.rows
    kept = [token for token in rows if token.keep]
    names = [name for token in kept for name in (token.shown_names if pairs else token.names)]
    has_person = bool((clip.labels == 0).any())
    codes = {
        "NO_PERSON": reads_people(pairs) and not has_person,
        "ABSENT_PERSON": people.is_absent(),
        "NO_OBJECT": not pairs and has_person and not rows and not people.is_absent(),
        "NO_PAIR": bool(pairs) and not rows and not people.is_absent(),
        "EMPTY_SELECTION": not kept,
        "LOW_MARGIN": any(name.status != "confident" for name in names),
        "UNCALIBRATED": not network.calibration.get("videos"),
        "NOT_STRICT": not settings.is_strict,
        "SHORT_CLIP": clip.num_frames < settings.num_frames,
    }
    return [code for code, holds in codes.items() if holds]
