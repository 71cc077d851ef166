"""Why a video got its actions, as JSON (`configs/schemas/explanation.schema.json`).

Everything in it is read off the computation: which tokens were kept, what each adds to each action
(leave one out), what the label bank calls them. The sentence is filled in from these fields.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.label_bank import LabelBank, Names
from model.tokens import ActionOutput
from pipeline.cache.clip import CachedClip
from pipeline.explanation.naming import status_of
from pipeline.explanation.sentences import sentence_of
from pipeline.samples.clip_tokens import ClipTokens
from pipeline.weights.model_card import ModelCard

SCHEMA = "laiar.explanation/1"
WARNINGS = {
    "RANDOM_WEIGHTS": "the detector is untrained: its boxes and features mean nothing",
    "DECODE_DEGRADED": "the file is damaged or cut; what could be decoded was used",
    "DETECTED_BOXES": "trained on annotated boxes, but this video has none: boxes are detected",
    "NO_PERSON": "no frame that was looked at shows a person",
    "NO_OBJECT": "no frame that was looked at shows a person with an object",
    "EMPTY_SELECTION": "no token was kept: [class] alone decides, there is no evidence",
    "LOW_MARGIN": "some kept tokens have no name that is known to be right often enough",
    "UNCALIBRATED": "no validation videos: how often names are right is not known",
    "NOT_STRICT": "this network lets discarded tokens move the score (preset paper)",
    "SHORT_CLIP": "the video has fewer frames to look at than the network was trained with",
}


@dataclass(frozen=True)
class Evidence:
    """What a network did with one video.

    Attributes:
        clip: the sampled frames.
        tokens: made from the clip.
        output: of the network, one video.
        contributions: (T, K, C) of `leave_one_out`.
        calibration: content of `calibration.json`.
    """

    clip: CachedClip
    tokens: ClipTokens
    output: ActionOutput
    contributions: Tensor
    calibration: dict[str, Any]


def explain(
    evidence: Evidence,
    bank: LabelBank,
    card: ModelCard,
    *,
    fingerprint: str,
    generator: dict[str, Any],
    top: int,
    threshold: float,
    warnings: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Build the explanation of one video.

    Args:
        evidence: what the network did.
        bank: names the tokens.
        card: of the network.
        fingerprint: SHA-256 over everything that determines the result.
        generator: hashes and versions of what made this.
        top: actions explained, best first.
        threshold: score from which an action is called present.
        warnings: codes of `WARNINGS` known already.

    Returns:
        JSON after the schema, without NaN.
    """
    clip, output = evidence.clip, evidence.output
    tokens = _tokens(evidence, bank, card)
    transitions = find_transitions(tokens, tuple(card.cache.predicate_groups))
    scores = output.logits[0].double().sigmoid()
    ranked = scores.argsort(descending=True, stable=True)[:top].tolist()
    predictions = [
        _prediction(evidence, rank, c, tokens, transitions, card) for rank, c in enumerate(ranked)
    ]
    for row in predictions:
        row["is_present"] = row["score"] >= threshold
    source = clip.header.source
    codes = dict.fromkeys((*clip.header.warnings, *warnings, *_observed(evidence, tokens, card)))
    kept = {token["t"] for token in tokens if token["keep"]}
    return {
        "schema": SCHEMA,
        "fingerprint": fingerprint,
        "generator": generator,
        "video": {"id": clip.video_id} | source,
        "boxes": clip.header.boxes,
        "sampling": {
            "policy": "segment-centres",
            "frames": [
                {"t": t, "frame_index": int(i), "time_s": float(s), "is_kept": t in kept}
                for t, (i, s) in enumerate(
                    zip(clip.frame_index.tolist(), clip.timestamps_s.tolist(), strict=True)
                )
            ],
        },
        "tokens": tokens,
        "transitions": transitions,
        "predictions": predictions,
        "warnings": [{"code": code, "message": WARNINGS[code]} for code in codes],
    }


def find_transitions(tokens: list[dict[str, Any]], groups: tuple[str, ...]) -> list[dict[str, Any]]:
    """Changes of the named relation between kept tokens of one object class that follow each other.

    A change lies between two frames that were looked at: its time is that interval. Of several
    objects of one class in a frame the first slot counts.
    """
    tracks: dict[str, list[dict[str, Any]]] = {}
    for token in tokens:
        track = tracks.setdefault(token["object"]["class"], [])
        if token["keep"] and not (track and track[-1]["t"] == token["t"]):
            track.append(token)
    found: list[dict[str, Any]] = []
    for object_class, track in tracks.items():
        for g, group in enumerate(groups):
            named = [t for t in track if t["names"][g]["predicate"] is not None]
            for before, after in itertools.pairwise(named):
                ends = [t["names"][g]["predicate"] for t in (before, after)]
                if ends[0] != ends[1]:
                    found.append(
                        {
                            "object": object_class,
                            "group": group,
                            "from": ends[0],
                            "to": ends[1],
                            "between_s": [before["time_s"], after["time_s"]],
                            "tokens": [before["id"], after["id"]],
                        }
                    )
    found.sort(key=lambda row: (row["between_s"], row["object"], row["group"]))
    return [{"id": i} | row for i, row in enumerate(found)]


def _tokens(evidence: Evidence, bank: LabelBank, card: ModelCard) -> list[dict[str, Any]]:
    clip, output, batch = evidence.clip, evidence.output, evidence.tokens.batch
    embeddings = output.embeddings[batch.mask.to(output.embeddings.device)].cpu()
    own = bank.name(embeddings, batch.object_labels)
    free = bank.name(embeddings, batch.object_labels, constrained=False)
    rows = []
    for m, (_, t, k) in enumerate(batch.mask.nonzero().tolist()):
        human, object_ = clip.pair_rows[int(evidence.tokens.pair_row[m])].tolist()
        rows.append(
            {
                "id": m,
                "t": t,
                "k": k,
                "time_s": float(clip.timestamps_s[t]),
                "frame_index": int(clip.frame_index[t]),
                "human": _box(clip, human, card),
                "object": _box(clip, object_, card),
                "keep": bool(output.keep[0, t, k]),
                "keep_temporal": bool(output.keep_temporal[0, t]),
                "keep_spatial": bool(output.keep_spatial[0, t, k]),
                "keep_probability": float(output.keep_probability[0, t, k]),
                "names": [
                    _name(own[g], free[g], m, group, card, evidence.calibration)
                    for g, group in enumerate(card.cache.predicate_groups)
                ],
            }
        )
    return rows


def _box(clip: CachedClip, row: int, card: ModelCard) -> dict[str, Any]:
    return {
        "class": card.cache.objects[int(clip.labels[row])],
        "box": [float(v) for v in clip.boxes[row].tolist()],
        "score": float(clip.scores[row]),
    }


def _name(
    own: Names, free: Names, m: int, group: str, card: ModelCard, calibration: dict[str, Any]
) -> dict[str, Any]:
    words = [name for names in card.cache.predicate_groups.values() for name in names]
    known = calibration.get("groups", {}).get(group, {})
    predicate, margin = int(own.predicate[m]), float(own.margin[m])
    other, its_object = int(free.predicate[m]), int(free.object[m])
    return {
        "group": group,
        "predicate": words[predicate] if predicate >= 0 else None,
        "cosine": float(own.cosine[m]),
        "margin": margin,
        "status": status_of(predicate, margin, known.get("threshold")),
        "right_on_validation": _right(margin, known.get("bins") or []),
        "unconstrained": None
        if other < 0
        else {
            "predicate": words[other],
            "object": card.cache.objects[its_object],
            "cosine": float(free.cosine[m]),
        },
    }


def _right(margin: float, bins: list[dict[str, Any]]) -> float | None:
    """How often names of such a margin were right on the validation videos."""
    below = [row for row in bins if row["margin_from"] <= margin]
    return below[-1]["right"] if below else None


def _prediction(
    evidence: Evidence,
    rank: int,
    action: int,
    tokens: list[dict[str, Any]],
    transitions: list[dict[str, Any]],
    card: ModelCard,
) -> dict[str, Any]:
    logit = float(evidence.output.logits[0, action])
    share = evidence.contributions[:, :, action]
    parts = [
        {"token": token["id"], "contribution": float(share[token["t"], token["k"]])}
        for token in tokens
        if token["keep"]
    ]
    parts.sort(key=lambda part: (-part["contribution"], part["token"]))
    weight = {part["token"]: part["contribution"] for part in parts}
    carried = [
        {"transition": row["id"], "contribution": sum(weight[i] for i in row["tokens"])}
        for row in transitions
    ]
    carried = [row for row in carried if row["contribution"] > 0]
    # Changes of several groups between the same two tokens weigh the same; the last group
    # (contacting) says most.
    order = {group: -g for g, group in enumerate(card.cache.predicate_groups)}
    carried.sort(
        key=lambda row: (
            -row["contribution"],
            order[transitions[row["transition"]]["group"]],
            row["transition"],
        )
    )
    class_id, name = card.cache.classes[action]
    score = float(torch.tensor(logit, dtype=torch.float64).sigmoid())
    said = [tokens[p["token"]] for p in parts if p["contribution"] > 0]
    changes = [transitions[row["transition"]] for row in carried]
    return {
        "rank": rank + 1,
        "class_id": class_id,
        "name": name,
        "score": score,
        "logit": logit,
        "evidence": parts,
        "transitions": carried,
        "sentence": sentence_of(name, score, said, changes, tokens, is_empty=not parts),
    }


def _observed(evidence: Evidence, tokens: list[dict[str, Any]], card: ModelCard) -> list[str]:
    """Codes that follow from what was computed."""
    clip, settings = evidence.clip, card.settings
    kept = [token for token in tokens if token["keep"]]
    names = [name for token in kept for name in token["names"]]
    codes = {
        "NO_PERSON": not bool((clip.labels == 0).any()),
        "NO_OBJECT": bool((clip.labels == 0).any()) and not tokens,
        "EMPTY_SELECTION": not kept,
        "LOW_MARGIN": any(name["status"] != "confident" for name in names),
        "UNCALIBRATED": not evidence.calibration.get("videos"),
        "NOT_STRICT": (settings.context, settings.discard) != ("kept", "mask"),
        "SHORT_CLIP": clip.num_frames < settings.num_frames,
    }
    return [code for code, holds in codes.items() if holds]
