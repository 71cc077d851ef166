"""Construction of the networks from their settings."""

from model.baselines.baseline import Baseline
from model.baselines.graph import TokenGraph
from model.baselines.transformer import TokenTransformer
from model.clip_feature import ClipReadout
from model.dt_former import DTFormer
from model.labels import LabelReader
from model.laiar import LaIAR
from model.relation_features import SemanticRelation, VisualRelation
from model.settings import LaIARSettings


def build_laiar(
    *,
    num_classes: int,
    num_objects: int,
    group_sizes: dict[str, int],
    box_features: int,
    union_channels: int,
    settings: LaIARSettings,
    has_video: bool = True,
    num_labels: int = 0,
    multi_label: bool = True,
    clip_width: int = 0,
) -> LaIAR:
    """Build a LaIAR network with random weights.

    Args:
        num_classes: number of action classes, C.
        num_objects: number of object classes, O.
        group_sizes: maps each predicate group to its number of predicates, in index order.
        box_features: width of the box features, F.
        union_channels: channels of the union features, Cu.
        settings: all other sizes and options.
        has_video: if False, the network has only the language branch.
        num_labels: number of labels that the video branch reads tokens as, E; see
            `LabelReader.set_labels`.
        multi_label: True if a video can have several actions.
        clip_width: width of the clip features that the video branch reads, or 0 for none.

    Returns:
        The network in training mode.
    """
    settings = settings.resolved()
    former = DTFormer(settings, multi_label=multi_label)
    shared = settings.shared_transformer or settings.reading
    reader = token_semantic = None

    def semantic() -> SemanticRelation:
        return SemanticRelation(num_objects, group_sizes, pooling=settings.predicate_pooling)

    if has_video and settings.reading:
        reader = LabelReader(num_labels, sum(group_sizes.values()))
        token_semantic = semantic()
    return LaIAR(
        _visual(num_objects, box_features, union_channels, settings) if has_video else None,
        semantic(),
        (former, former if shared else DTFormer(settings, multi_label=multi_label)),
        reader=reader,
        token_semantic=token_semantic,
        clip=ClipReadout(clip_width, num_classes) if has_video and clip_width else None,
        num_classes=num_classes,
        settings=settings,
    )


def build_baseline(
    *,
    num_classes: int,
    num_objects: int,
    box_features: int,
    union_channels: int,
    settings: LaIARSettings,
) -> Baseline:
    """Build a baseline with random weights.

    Args:
        num_classes: number of action classes, C.
        num_objects: number of object classes, O.
        box_features: width of the box features, F.
        union_channels: channels of the union features, Cu.
        settings: all other sizes and options; `network` selects the baseline.

    Returns:
        The network in training mode.
    """
    settings = settings.resolved()
    pooling = TokenGraph if settings.network == "graph" else TokenTransformer
    return Baseline(
        _visual(num_objects, box_features, union_channels, settings),
        pooling(
            settings.dim,
            settings.heads,
            layers=settings.layers,
            mlp_ratio=settings.mlp_ratio,
            dropout=settings.dropout,
        ),
        num_classes=num_classes,
        settings=settings,
    )


def _visual(
    num_objects: int, box_features: int, union_channels: int, settings: LaIARSettings
) -> VisualRelation:
    return VisualRelation(
        box_features,
        union_channels,
        part_width=settings.part_width,
        union_width=settings.union_width,
        num_objects=num_objects if settings.class_embeddings else None,
    )
