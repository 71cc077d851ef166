"""Construction of explanations (`configs/schemas/explanation.schema.json`).

Every field is computed from the kept tokens, the scores of subsets of the tokens, or the names from
the label bank. The sentence is generated from the fields of the reason.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline.decoding.video_source import VideoSource
from pipeline.evaluation.temperature import probabilities
from pipeline.explanation.explained_clip import ExplainedClip, Network
from pipeline.explanation.explanation import WARNINGS, Explanation
from pipeline.explanation.reason import renumbered
from pipeline.explanation.sentences import sentence_of
from pipeline.explanation.what_if import EditableVideo, EditableWindow
from pipeline.explanation.windows import WindowChoice
from pipeline.extraction.person_choice import PersonChoice


def build_explanation(
    network: Network,
    windows: WindowChoice,
    explained: dict[int, ExplainedClip],
    *,
    fingerprint: str,
    generator: dict[str, Any],
    threshold: float,
    source: VideoSource,
    people: PersonChoice,
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
        labels: id and name of each annotated action, or None.
        warnings: codes of `WARNINGS` from earlier stages.
    """
    actions = windows.actions()
    rows: dict[str, list[dict[str, Any]]] = {
        name: [] for name in ("frames", "tracks", "tokens", "transitions")
    }
    predictions: dict[int, dict[str, Any]] = {}
    editable: dict[int, EditableWindow] = {}
    for number, found in sorted(explained.items()):
        starts = {name: len(part) for name, part in rows.items()}
        editable[number] = EditableWindow(found, starts["tracks"], starts["tokens"])
        mine = [action for action in actions if windows.window_of(action) == number]
        for action in mine:
            predictions[action] = _prediction(network, found, action, starts) | {
                "rank": actions.index(action) + 1,
                "window": number,
            }
        for name, part in _rows_of(found, number, starts).items():
            rows[name] += part
    for row in predictions.values():
        row["is_present"] = row["score"] >= threshold
    first = next(iter(explained.values())).clip
    observed = [code for found in explained.values() for code in _observed(network, found, people)]
    found_late = {"DECODE_DEGRADED": source.is_degraded, "RESCALED_FRAMES": source.is_rescaled}
    late = [code for code, holds in found_late.items() if holds]  # after the first window
    codes = dict.fromkeys((*first.header.warnings, *late, *warnings, *observed))
    tree = {
        "schema": Explanation.SCHEMA,
        "fingerprint": fingerprint,
        "generator": generator,
        "video": source.to_dict()
        | {
            "id": first.video_id,
            "labels": None
            if labels is None
            else [{"class_id": class_id, "name": name} for class_id, name in labels],
        },
        "boxes": first.header.boxes,
        "people": people.to_dict(),
        "sampling": {"policy": "segment-centres", "frames": rows.pop("frames")},
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
        **rows,
        "predictions": [predictions[action] for action in actions],
        "warnings": [{"code": code, "message": WARNINGS[code]} for code in codes],
        "edited": None,
    }
    return replace(
        Explanation.from_dict(tree),
        editable=EditableVideo(network, first.video_id, editable, threshold),
    )


def find_tracks(tokens: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return `tracks` of the explanation: the tokens of each object, in order of time.

    Args:
        tokens: `tokens` of the explanation.
    """
    tracks: dict[int, dict[str, Any]] = {}
    for token in tokens:
        row = {"id": token["track"], "object": token["object"]["class"], "tokens": []}
        tracks.setdefault(token["track"], row)["tokens"].append(token["id"])
    return [tracks[number] for number in sorted(tracks)]


def _rows_of(
    found: ExplainedClip, number: int, starts: dict[str, int]
) -> dict[str, list[dict[str, Any]]]:
    """Return the frames, tokens, tracks and transitions of a window, numbered from `starts`."""
    clip, tokens = found.clip, found.tokens.rows
    kept = {token["t"] for token in tokens if token["keep"]}
    times = zip(clip.frame_index.tolist(), clip.timestamps_s.tolist(), strict=True)
    frames = [
        {
            "t": starts["frames"] + t,
            "window": number,
            "frame_index": index,
            "time_s": time_s,
            "is_kept": t in kept,
        }
        for t, (index, time_s) in enumerate(times)
    ]
    tokens = [
        row
        | {
            "id": starts["tokens"] + row["id"],
            "t": starts["frames"] + row["t"],
            "track": starts["tracks"] + row["track"],
        }
        for row in tokens
    ]
    transitions = [
        row
        | {
            "id": starts["transitions"] + row["id"],
            "track": starts["tracks"] + row["track"],
            "tokens": [starts["tokens"] + token for token in row["tokens"]],
        }
        for row in found.transitions
    ]
    tracks = find_tracks(tokens)
    return {"frames": frames, "tracks": tracks, "tokens": tokens, "transitions": transitions}


def _prediction(
    network: Network, found: ExplainedClip, action: int, starts: dict[str, int]
) -> dict[str, Any]:
    """Return the prediction of an action from its window, without rank and window."""
    card, reason = network.card, found.reasons[action]
    class_id, name = card.classes[action]
    calibrated = probabilities(
        found.logits[None].numpy(),
        network.calibration["scores"]["temperature"],
        multi_label=card.multi_label,
    )
    sentence = sentence_of(name, found.scores[action], reason, found.tokens.rows)

    return {
        "class_id": class_id,
        "name": name,
        "score": found.scores[action],
        "score_calibrated": float(calibrated[0, action]),
        "logit": float(found.logits[action]),
        "evidence": [
            part | {"token": starts["tokens"] + part["token"]}
            for part in found.support[action]["evidence"]
        ],
        "transitions": [
            part | {"transition": starts["transitions"] + part["transition"]}
            for part in found.support[action]["transitions"]
        ],
        "reason": renumbered(reason, tracks=starts["tracks"], tokens=starts["tokens"]),
        "sentence": sentence,
    }


def _observed(network: Network, found: ExplainedClip, people: PersonChoice) -> list[str]:
    """Return the warning codes that are determined from the result."""
    clip, settings = found.clip, network.card.settings
    kept = [token for token in found.tokens.rows if token["keep"]]
    names = [name for token in kept for name in token["names"]]
    has_person = bool((clip.labels == 0).any())
    codes = {
        "NO_PERSON": not has_person,
        "ABSENT_PERSON": people.is_absent(),
        "NO_OBJECT": has_person and not found.tokens.rows and not people.is_absent(),
        "EMPTY_SELECTION": not kept,
        "LOW_MARGIN": any(name["status"] != "confident" for name in names),
        "UNCALIBRATED": not network.calibration.get("videos"),
        "NOT_STRICT": not settings.is_strict,
        "SHORT_CLIP": clip.num_frames < settings.num_frames,
    }
    return [code for code, holds in codes.items() if holds]
