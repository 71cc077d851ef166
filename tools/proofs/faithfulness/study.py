"""Measurements of the reasons of many clips."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.cache.clip import CachedClip
from pipeline.explanation.explained_clip import ExplainedClip, Network, explain_clip
from pipeline.explanation.sentences import sentence_of
from pipeline.explanation.wording import load_wording
from tools.proofs.faithfulness.annotations import Annotations
from tools.proofs.faithfulness.causes import Cause, SampledTimes, best_faults, find_causes
from tools.proofs.faithfulness.interventions import (
    discard_change,
    edit_scores,
    extra_tokens,
    name_scores,
    order_scores,
    reason_scores,
)
from tools.proofs.faithfulness.names import name_truth
from tools.proofs.faithfulness.randomised import randomised_scores, with_random_parameters
from tools.proofs.faithfulness.rationales import rationale_scores
from tools.proofs.faithfulness.readers import (
    annotation_reader,
    best_contribution,
    random_transition,
)
from tools.proofs.faithfulness.stability import Stability
from tools.proofs.faithfulness.summary import mean_with_interval
from tools.proofs.faithfulness.videos import (
    VideoSelection,
    degeneration,
    order_values,
    selection_rows,
    video_selection,
)
from tools.world.script import Script
from tools.world.true_relations import frame_times, true_relations

#: Number of videos for which all small sets are searched and the parameters are randomised.
SAMPLE = 30
#: Largest number of kept tokens of a video for which all small sets are searched.
MOST_TOKENS = 24
#: Explained actions of the videos without a rationale.
WITHOUT_OBJECT = "rationales: action without an object"
UNKNOWN_OBJECT = "rationales: object of the action not in the vocabulary"
WITHOUT_TOKEN = "rationales: no token of the object during the action"


class Study:
    """Measurements of the reasons of many clips.

    Args:
        network: the network.
        annotations: annotations of the videos.
        threshold: smallest score of an explained action.
        seed: seed of the random subsets, orders, transitions and parameters.
        pairs: columns of the two classes of each inverse pair.
        only_truth: whether only the names and sentences are compared with the true relations.
    """

    def __init__(
        self,
        network: Network,
        annotations: Annotations,
        threshold: float,
        seed: int,
        *,
        pairs: Sequence[tuple[int, int]] = (),
        only_truth: bool = False,
    ) -> None:
        self.only_truth = only_truth
        self.network, self.annotations, self.pairs = network, annotations, pairs
        self.threshold, self.seed = threshold, seed
        self.random_network = with_random_parameters(network, seed)
        self.values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        self.kinds: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.selections: list[VideoSelection] = []
        self.stability = Stability()
        self.sentences: list[dict[str, Any]] = []
        self.videos = self.without_tokens = 0

    def add(self, clip: CachedClip, other: CachedClip | None = None) -> None:
        """Measure the reasons of one clip.

        Args:
            clip: sampled frames of the clip.
            other: sampled frames of the same video in the second cache.
        """
        found = explain_clip(self.network, clip, self.threshold)
        video_id = clip.video_id
        rng = np.random.default_rng([self.seed, self.videos])
        self.videos += 1
        self.without_tokens += not found.tokens.kept
        if not self.only_truth:
            self._test(found, rng)
        if self.annotations.scripts is not None:
            self._compare(found, self.annotations.scripts[video_id])
        if other is not None:
            second = explain_clip(self.network, other, self.threshold)
            self.stability.add(video_id, found, second)

    def _test(self, found: ExplainedClip, rng: np.random.Generator) -> None:
        """Change the tokens of a clip, and measure the effect on its scores and reasons."""
        video_id = found.clip.video_id
        self._note(video_id, "discard invariance", discard_change(self.network, found, self.seed))
        for action, reason in found.reasons.items():
            self.kinds[reason.kind] += 1
            if reason.tokens:
                self._note(video_id, "tokens of a reason", len(reason.tokens))
                scores = reason_scores(found, action, rng) | order_scores(found, action, rng)
                scores |= edit_scores(found, action, rng)
                for name, value in scores.items():
                    self._note(video_id, name.replace("_", ", "), value)
        if self.videos <= SAMPLE and len(found.tokens.kept) <= MOST_TOKENS:
            for extra in extra_tokens(found):
                self._note(video_id, "tokens more than the smallest set", extra)
        for name, changes in name_scores(self.network.bank, found, rng).items():
            for value in changes:
                self._note(video_id, name.replace("_", ", "), value)
        self._select(found)
        self._rationales(found)
        if self.videos <= SAMPLE:
            self._note_all(video_id, randomised_scores(self.random_network, found, self._rng(1)))

    def _rng(self, stream: int) -> np.random.Generator:
        """Return a generator of the current video."""
        return np.random.default_rng([self.seed, self.videos, stream])

    def _note_all(self, video_id: str, values: Mapping[str, Iterable[float]]) -> None:
        for name, row in values.items():
            for value in row:
                self._note(video_id, name, value)

    def _select(self, clip: ExplainedClip) -> None:
        """Measure the selection of a clip."""
        video_id = clip.clip.video_id
        for name, value in degeneration(clip).items():
            self._note(video_id, name, value)
        self._note_all(video_id, order_values(self.network, clip, self.pairs))
        self.selections.append(video_selection(clip, self._rng(2)))

    def _rationales(self, clip: ExplainedClip) -> None:
        """Compare the reasons of the actions of the video with their objects and intervals."""
        if self.annotations.objects is None:
            return
        for action in sorted(clip.labels & {*clip.reasons}):
            objects = self.annotations.objects.get(self.network.card.classes[action][0])
            if not objects:
                self.left_out[WITHOUT_OBJECT if objects is None else UNKNOWN_OBJECT] += 1
                continue
            scores = rationale_scores(clip, action, objects)
            if scores is None:
                self.left_out[WITHOUT_TOKEN] += 1
                continue
            for name, value in scores.items():
                self._note(clip.clip.video_id, name, value)

    def _note(self, video_id: str, name: str, value: float) -> None:
        self.values[name][video_id].append(value)

    def _compare(self, clip: ExplainedClip, script: Script) -> None:
        ids = [class_id for class_id, _ in self.network.card.classes]
        header, video_id = clip.clip.header, clip.clip.video_id
        all_times = frame_times(script, header.source)
        times = SampledTimes(
            tuple(clip.clip.timestamps_s.tolist()),
            tuple(all_times[i] for i in clip.clip.frame_index.tolist()),
        )
        rules = self.annotations.rules
        truth = true_relations(rules, script, clip.clip, clip.clip_tokens)
        self._note_all(video_id, name_truth(self.network.bank, clip, truth))
        by_class: dict[str, list[Cause]] = defaultdict(list)
        for cause in find_causes(rules, script):
            by_class[cause.class_id].append(cause)
        for action in sorted(clip.labels):
            causes = by_class[ids[action]]
            self._note(video_id, "covered", action in clip.reasons)
            if action not in clip.reasons or not causes:
                continue
            reason = clip.reasons[action]
            faults = best_faults(reason, causes, times)
            kind = causes[0].kind
            others = {
                "": faults,
                ", random transition": best_faults(
                    random_transition(clip, f"{self.seed}/{video_id}/{action}"), causes, times
                ),
                ", largest contribution": best_faults(
                    best_contribution(clip, action), causes, times
                ),
                ", rules on true relations": best_faults(
                    annotation_reader(clip, truth, rules, ids[action]), causes, times
                ),
            }
            for name, wrong in others.items():
                self._note(video_id, f"sentence truth{name}", not wrong)
            self._note(video_id, f"sentence truth, causes that are {kind}", not faults)
            if faults:
                self.faults[f"{kind}: {' + '.join(faults)}"] += 1
            name = self.network.card.classes[action][1]
            wording = load_wording(self.network.card.cache.settings.vocabulary)
            said = sentence_of(name, clip.scores[action], reason, clip.tokens.rows, wording)
            self.sentences.append(
                {"video": video_id, "sentence": said, "faults": [*faults], "cause": causes[0].rule}
            )

    def result(self) -> dict[str, Any]:
        """Return the results as JSON."""
        rng = np.random.default_rng(self.seed)
        order = rng.permutation(len(self.sentences))[:6].tolist()
        values = self.values | self.stability.values(self.seed)
        metrics = {name: mean_with_interval(rows) for name, rows in values.items()}
        return {
            "videos": self.videos,
            "videos_without_kept_tokens": self.without_tokens,
            "reasons": dict(self.kinds),
            "metrics": metrics | selection_rows(self.selections, self.seed),
            "left_out": dict(self.left_out),
            "faults": dict(self.faults.most_common()),
            "sentences": [self.sentences[i] for i in order],
        }
