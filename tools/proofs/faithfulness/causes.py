"""Causes of the actions of the synthetic world, and whether a reason states one."""

from dataclasses import dataclass
from typing import Any

from pipeline.explanation.predictions import Statement
from tools.world.labels import Action, find_actions
from tools.world.record import cause_of
from tools.world.rules import Rules
from tools.world.script import Script

#: Longest duration of a change in a true reason, in sampled frames.
LONGEST = 2


@dataclass(frozen=True)
class Cause:
    """Cause of one action of a video.

    Attributes:
        class_id: id of the action class.
        start_s: start of the action in seconds of the script.
        end_s: end of the action.
        moment_s: midpoint of the change, or None for a lasting relation.
        rule: predicates of the rule of the action, see `tools.world.record.cause_of`.
    """

    class_id: str
    start_s: float
    end_s: float
    moment_s: float | None
    rule: dict[str, Any]

    @property
    def kind(self) -> str:
        """Kind of the reason that states the cause: `change` or `lasting`."""
        return str(self.rule["kind"])


def find_causes(rules: Rules, script: Script) -> list[Cause]:
    """Return the causes of all actions of a video."""

    def cause(action: Action) -> Cause:
        rule = cause_of(action, script.threads[action.thread].object)
        return Cause(action.id, action.start_s, action.end_s, action.moment_s, rule)

    return [cause(action) for action in find_actions(rules, script)]


@dataclass(frozen=True)
class SampledTimes:
    """Times of the sampled frames of a clip.

    Attributes:
        shown: times in the clip, as explanations state them, in ascending order.
        script: times in the script, which differ if frames are hidden or missing.
    """

    shown: tuple[float, ...]
    script: tuple[float, ...]

    def frame(self, time_s: float) -> int:
        """Return the sampled frame at a time of an explanation."""
        return self.shown.index(time_s)


def faults_of(reason: Statement, cause: Cause, times: SampledTimes) -> tuple[str, ...]:
    """Return what is wrong with a reason as the statement of a cause.

    Args:
        reason: the reason.
        cause: the cause.
        times: times of the sampled frames of the clip.

    Returns:
        Nothing if the reason is true: its kind is that of the cause, its object is that of the
        cause or the second object of the rule, and

        - for a change: `from` and `to` are predicates of the rule before and after the change, its
          moment lies between both tokens, and they are at most `LONGEST` sampled frames apart;
        - for a lasting relation: `to` is a predicate of the rule, and at least half of the time
          between the first and the last token lies within the action.

        Otherwise, the names of the faults: `none` for a reason of this kind, `kind`, `object`,
        `from`, `to`, `moment`, `long` and `time`.
    """
    if reason.object is None or reason.between_s is None:
        return ("none",)
    if reason.kind != cause.kind:
        return ("kind",)
    rule, name = cause.rule, reason.object
    if name != rule["of"] and name not in rule["with"]:
        return ("object",)
    other = None if name == rule["of"] else rule["with"][name]
    frames = [times.frame(time) for time in reason.between_s]
    start, end = (times.script[frame] for frame in frames)
    if cause.kind == "lasting":
        inside = max(min(end, cause.end_s) - max(start, cause.start_s), 0.0)
        at_once = start == end and cause.start_s <= start <= cause.end_s
        checks = {
            "to": reason.to in (other or rule["while"]),
            "time": at_once or (start < end and 2 * inside >= end - start),
        }
    else:
        assert cause.moment_s is not None
        checks = {
            "from": reason.from_ in (other or rule["before"]),
            "to": reason.to in (other or rule["after"]),
            "moment": start <= cause.moment_s <= end,
            "long": frames[1] - frames[0] <= LONGEST,
        }
    return tuple(fault for fault, holds in checks.items() if not holds)


def best_faults(reason: Statement, causes: list[Cause], times: SampledTimes) -> tuple[str, ...]:
    """Return the fewest faults over the causes of all actions of a class."""
    return min((faults_of(reason, cause, times) for cause in causes), key=len)
