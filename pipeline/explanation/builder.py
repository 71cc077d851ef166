"""Construction of explanations as JSON (`configs/schemas/explanation.schema.json`).

Every field is computed from the kept tokens, the scores of subsets of the tokens, or the names from
the label bank. The sentence is generated from the fields of the reason.
"""

import itertools
from dataclasses import dataclass
from typing import Any

from model.label_bank import LabelBank, Names
from model.token_scorer import TokenScorer
from model.tokens import ActionOutput
from pipeline.cache.clip import CachedClip
from pipeline.evaluation.temperature import probabilities
from pipeline.explanation.naming import status_of
from pipeline.explanation.reason import NamedTokens, changed, find_reasons
from pipeline.explanation.sentences import sentence_of
from pipeline.samples.clip_tokens import ClipTokens
from pipeline.weights.model_card import ModelCard

SCHEMA = "laiar.explanation/3"
WARNINGS = {
    "RANDOM_WEIGHTS": "the detector is untrained; its boxes and features are meaningless",
    "DECODE_DEGRADED": "the file is damaged or truncated; only its decodable frames are used",
    "DETECTED_BOXES": "the network was trained on annotated boxes; this video has detected boxes",
    "NO_PERSON": "no sampled frame shows a person",
    "NO_OBJECT": "no sampled frame shows a person with an object",
    "EMPTY_SELECTION": "no token is kept; the [class] token alone determines the scores",
    "LOW_MARGIN": "some names of kept tokens are uncertain or unknown",
    "UNCALIBRATED": "the run has no validation videos; the accuracy of names is unknown",
    "NOT_STRICT": "discarded tokens can change the scores of this network (preset paper)",
    "UNFAMILIAR": "this video is unlike the training videos; scores and names can be wrong",
    "SHORT_CLIP": "the video has fewer sampled frames than the network was trained with",
}


@dataclass(frozen=True)
class Evidence:
    """Output of a network for one video, with its inputs and the calibration of names.

    Attributes:
        clip: sampled frames of the video.
        tokens: tokens of the clip.
        output: output of the network for these tokens, a batch of one video.
        scorer: scorer of the tokens with the same network.
        calibration: content of `calibration.json`.
    """

    clip: CachedClip
    tokens: ClipTokens
    output: ActionOutput
    scorer: TokenScorer
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
        evidence: output of the network for the video.
        bank: label bank that names the tokens.
        card: card of the network.
        fingerprint: SHA-256 over everything that determines the result.
        generator: hashes of the files and versions of the packages that produce the explanation.
        top: number of actions to explain. The actions with the highest scores are explained.
        threshold: smallest score of an action that is reported as present.
        warnings: codes of `WARNINGS` from earlier stages.

    Returns:
        JSON that conforms to the schema and contains no NaN.
    """
    clip, output = evidence.clip, evidence.output
    tokens = token_rows(evidence, bank, card)
    transitions = find_transitions(tokens, tuple(card.cache.predicate_groups))
    logits = output.logits.double().cpu().numpy()
    scores = probabilities(logits, multi_label=card.multi_label)[0].tolist()
    ranked = output.logits[0].double().argsort(descending=True, stable=True)[:top].tolist()
    keep = output.keep[0][evidence.tokens.batch.mask[0].to(output.keep.device)]
    contributions = evidence.scorer.leave_one_out(keep)
    named = NamedTokens(tokens, card.cache.predicate_groups, evidence.tokens.batch.object_labels)
    reasons = find_reasons(evidence.scorer, named, bank, ranked)
    predictions = [
        _prediction(rank, c, scores[c], float(output.logits[0, c]), card)
        | support_of(tokens, transitions, contributions[:, c].tolist(), card)
        | {
            "reason": reason,
            "sentence": sentence_of(card.cache.classes[c][1], scores[c], reason, tokens),
        }
        for rank, (c, reason) in enumerate(zip(ranked, reasons, strict=True))
    ]
    temperature = evidence.calibration["scores"]["temperature"]
    calibrated = probabilities(logits, temperature, multi_label=card.multi_label)
    for row, c in zip(predictions, ranked, strict=True):
        row["score_calibrated"] = float(calibrated[0, c])
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
        "tracks": find_tracks(tokens),
        "tokens": tokens,
        "transitions": transitions,
        "predictions": predictions,
        "warnings": [{"code": code, "message": WARNINGS[code]} for code in codes],
    }


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


def find_transitions(tokens: list[dict[str, Any]], groups: tuple[str, ...]) -> list[dict[str, Any]]:
    """Find changes of the named relation between consecutive kept tokens of one track.

    The time of a change is the interval between the two sampled frames. See `changed` for `from`
    and `to`. Tokens without a name in a group are skipped in that group.

    Args:
        tokens: `tokens` of the explanation.
        groups: names of the predicate groups, in the order of `names` of each token.

    Returns:
        `transitions` of the explanation, sorted by time.
    """
    tracks: dict[int, list[dict[str, Any]]] = {}
    for token in tokens:
        if token["keep"]:
            tracks.setdefault(token["track"], []).append(token)
    found: list[dict[str, Any]] = []
    for number, track in tracks.items():
        for g, group in enumerate(groups):
            named = [t for t in track if t["names"][g]["predicate"] is not None]
            for before, after in itertools.pairwise(named):
                ends = changed(before["names"][g], after["names"][g])
                if ends is not None:
                    found.append(
                        {
                            "track": number,
                            "object": before["object"]["class"],
                            "group": group,
                            "from": ends[0],
                            "to": ends[1],
                            "between_s": [before["time_s"], after["time_s"]],
                            "tokens": [before["id"], after["id"]],
                        }
                    )
    found.sort(key=lambda row: (row["between_s"], row["track"], row["group"]))
    return [{"id": i} | row for i, row in enumerate(found)]


def token_rows(evidence: Evidence, bank: LabelBank, card: ModelCard) -> list[dict[str, Any]]:
    """Return `tokens` of the explanation.

    Args:
        evidence: output of the network for the video.
        bank: label bank that names the tokens.
        card: card of the network.
    """
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
                "track": int(batch.tracks[m]),
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
    start = 0
    for other_group, its_names in card.cache.predicate_groups.items():
        if other_group == group:
            break
        start += len(its_names)
    other, its_object = int(free.predicate[m]), int(free.object[m])
    return {
        "group": group,
        "predicate": words[predicate] if predicate >= 0 else None,
        "predicates": [words[start + int(r)] for r in own.said[m].nonzero()[:, 0]],
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
    """Return the accuracy of the calibration bin of a margin, or None below the lowest bin."""
    below = [row for row in bins if row["margin_from"] <= margin]
    return below[-1]["right"] if below else None


def _prediction(
    rank: int, action: int, score: float, logit: float, card: ModelCard
) -> dict[str, Any]:
    class_id, name = card.cache.classes[action]
    return {"rank": rank + 1, "class_id": class_id, "name": name, "score": score, "logit": logit}


def support_of(
    tokens: list[dict[str, Any]],
    transitions: list[dict[str, Any]],
    contributions: list[float],
    card: ModelCard,
) -> dict[str, Any]:
    """Return `evidence` and `transitions` of a prediction: contributions to its action.

    Args:
        tokens: `tokens` of the explanation.
        transitions: `transitions` of the explanation.
        contributions: contribution of each token to the action.
        card: card of the network.
    """
    parts = [
        {"token": token["id"], "contribution": contributions[token["id"]]}
        for token in tokens
        if token["keep"]
    ]
    parts.sort(key=lambda part: (-part["contribution"], part["token"]))
    carried = [
        {"transition": row["id"], "contribution": sum(contributions[i] for i in row["tokens"])}
        for row in transitions
    ]
    carried = [row for row in carried if row["contribution"] > 0]
    # Changes of several groups between the same two tokens have the same contribution. The last
    # group (contacting) is the most informative and comes first.
    order = {group: -g for g, group in enumerate(card.cache.predicate_groups)}
    carried.sort(
        key=lambda row: (
            -row["contribution"],
            order[transitions[row["transition"]]["group"]],
            row["transition"],
        )
    )
    return {"evidence": parts, "transitions": carried}


def _observed(evidence: Evidence, tokens: list[dict[str, Any]], card: ModelCard) -> list[str]:
    """Return the warning codes that are determined from the result."""
    clip, settings = evidence.clip, card.settings
    kept = [token for token in tokens if token["keep"]]
    names = [name for token in kept for name in token["names"]]
    codes = {
        "NO_PERSON": not bool((clip.labels == 0).any()),
        "NO_OBJECT": bool((clip.labels == 0).any()) and not tokens,
        "EMPTY_SELECTION": not kept,
        "LOW_MARGIN": any(name["status"] != "confident" for name in names),
        "UNCALIBRATED": not evidence.calibration.get("videos"),
        "NOT_STRICT": not settings.is_strict,
        "SHORT_CLIP": clip.num_frames < settings.num_frames,
    }
    return [code for code, holds in codes.items() if holds]
