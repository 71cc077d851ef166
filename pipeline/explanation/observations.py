"""Types of what a network observes in a video: frames, people, tokens and their names."""

from dataclasses import dataclass

from pipeline.config.typed_json import TypedJson
from pipeline.datasets.ids import is_safe_id

PERSON = "person"


@dataclass(frozen=True)
class Label(TypedJson):
    """Annotated action.

    Attributes:
        class_id: id of the action class.
        name: name of the action class.
    """

    class_id: str
    name: str


@dataclass(frozen=True)
class Video(TypedJson):
    """Explained video.

    Attributes:
        id: file name without suffix. Unsafe names are replaced by safe names.
        sha256: SHA-256 of the file, the frame folder or the frames.
        fps: nominal frames per second.
        num_frames: number of frames.
        width: width of an upright frame in pixels.
        height: height of an upright frame in pixels.
        duration_s: time from the start of playback to the end of the last frame in seconds.
        rotation: rotation that made the frames upright, counter-clockwise in degrees.
        edit_lists: treatment of the edit lists of the file.
        is_degraded: whether damage was found and tolerated.
        is_rescaled: whether the size of the decoded frames changes. They are then scaled to the
            size of the first frame.
        labels: the annotated actions, or None if the video is not annotated.

    Raises:
        ValueError: if the id is not safe as a file name (`is_safe_id`).
    """

    id: str
    sha256: str
    fps: float
    num_frames: int
    width: int
    height: int
    duration_s: float
    rotation: int
    edit_lists: str
    is_degraded: bool
    is_rescaled: bool
    labels: tuple[Label, ...] | None

    def __post_init__(self) -> None:
        if not is_safe_id(self.id):
            raise ValueError(f"id: a name of letters, digits, . _ and - expected, got {self.id!r}")


@dataclass(frozen=True)
class Frame(TypedJson):
    """Sampled frame.

    Attributes:
        t: number of the sampled frame.
        window: window that the frame belongs to.
        frame_index: number of the frame in the video, from 0.
        time_s: time of the frame in seconds.
        is_kept: whether a token of the frame is kept.
    """

    t: int
    window: int
    frame_index: int
    time_s: float
    is_kept: bool


@dataclass(frozen=True)
class Sampling(TypedJson):
    """Sampled frames of an explanation.

    Attributes:
        policy: how the frames are chosen.
        frames: the sampled frames of the windows that `predictions` refer to.
    """

    policy: str
    frames: tuple[Frame, ...]


@dataclass(frozen=True)
class Window(TypedJson):
    """Part of a video that is explained on its own.

    Attributes:
        id: number of the window in order of time.
        between_s: its start and end in seconds.
        scores: scores of the actions of `predictions` in this window, in their order.
    """

    id: int
    between_s: tuple[float, float]
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Box(TypedJson):
    """Box in a frame.

    Attributes:
        class_: object class.
        box: x1, y1, x2, y2 in pixels of the decoded frame.
        score: score of the detector, or 1 if annotated.
    """

    class_: str
    box: tuple[float, float, float, float]
    score: float


@dataclass(frozen=True)
class Unconstrained(TypedJson):
    """Nearest prototype of any object class.

    Attributes:
        predicate: its predicate.
        object: its object class.
        cosine: cosine similarity to the token.
    """

    predicate: str
    object: str
    cosine: float


@dataclass(frozen=True)
class Name(TypedJson):
    """Name of a token in one predicate group.

    Attributes:
        group: the predicate group.
        predicate: shown predicate, the rarest of `predicates`, or None.
        predicates: all predicates of the name.
        cosine: cosine similarity to the nearest prototype.
        margin: difference to the nearest prototype with other predicates of the group.
        status: `confident`, `uncertain` or `unknown`.
        right_on_validation: share of right names with such a margin on validation videos, or None.
        unconstrained: nearest prototype of any object class, or None.
    """

    group: str
    predicate: str | None
    predicates: tuple[str, ...]
    cosine: float
    margin: float
    status: str
    right_on_validation: float | None
    unconstrained: Unconstrained | None


@dataclass(frozen=True)
class Pairs(TypedJson):
    """Kind of pairs that a network reads.

    Attributes:
        name: name of the kind.
        subject: class of the first box, or None if each object is paired with itself.
        objects: classes of the second box.
    """

    name: str
    subject: str | None
    objects: tuple[str, ...]


@dataclass(frozen=True)
class Token(TypedJson):
    """Pair of boxes in a sampled frame, such as a human and an object.

    Attributes:
        id: number of the token, its index in `Explanation.tokens`.
        t: sampled frame.
        k: slot in the frame.
        track: track of the pair.
        time_s: time of the frame in seconds.
        frame_index: number of the frame in the video, from 0.
        human: first box of the pair: the human, a hand, the head or an object.
        object: second box of the pair. An object that is paired with itself has this box twice.
        keep: whether the token is kept.
        keep_temporal: whether the temporal selector keeps the frame (preset `paper`).
        keep_spatial: whether the spatial selector keeps the token (preset `paper`).
        keep_probability: probability with which the token is kept in training.
        names: names, one per predicate group.
    """

    id: int
    t: int
    k: int
    track: int
    time_s: float
    frame_index: int
    human: Box
    object: Box
    keep: bool
    keep_temporal: bool
    keep_spatial: bool
    keep_probability: float
    names: tuple[Name, ...]

    @property
    def is_single(self) -> bool:
        """Whether the token is an object that is paired with itself."""
        return self.human == self.object

    @property
    def title(self) -> str:
        """The object, after the first box of the pair unless it is the person or the object."""
        if self.is_single or self.human.class_ == PERSON:
            return self.object.class_
        return f"{self.human.class_} and {self.object.class_}"

    @property
    def shown_names(self) -> tuple[Name, ...]:
        """The names with a predicate, or all names if none has one.

        A token of one kind of pairs has no name in the groups of the other kinds.
        """
        return tuple(name for name in self.names if name.predicate) or self.names

    def has_same_object(self, other: "Token") -> bool | None:
        """Return whether two tokens of one frame have the same object; None for other frames."""
        return self.object == other.object if self.t == other.t else None

    def named(self, group: str) -> list[Name]:
        """Return the names of the token in a group, at most one."""
        return [name for name in self.names if name.group == group]


@dataclass(frozen=True)
class Track(TypedJson):
    """One pair of the video, such as the person and an object.

    Attributes:
        id: number of the track.
        object: object class.
        tokens: its tokens, in order of time.
    """

    id: int
    object: str
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Transition(TypedJson):
    """Change of a named relation between consecutive kept tokens of a track.

    Attributes:
        id: number of the transition, its index in `Explanation.transitions`.
        track: the track.
        object: object class.
        group: predicate group.
        from_: predicate before.
        to: predicate after.
        between_s: times of both tokens in seconds.
        tokens: both tokens.
    """

    id: int
    track: int
    object: str
    group: str
    from_: str
    to: str
    between_s: tuple[float, float]
    tokens: tuple[int, int]


@dataclass(frozen=True)
class Person(TypedJson):
    """Person of the video.

    Attributes:
        id: number of the person, by first appearance and then by score.
        frames: number of sampled frames that show the person.
        read: number of sampled frames in which the relations of this person are used.
    """

    id: int
    frames: int
    read: int


@dataclass(frozen=True)
class People(TypedJson):
    """People of the video.

    Attributes:
        chosen: person whose relations are used, or None for the person with the highest score in
            each frame.
        people: all people that were detected in sampled frames.
    """

    chosen: int | None
    people: tuple[Person, ...]
