"""Inference of the sizes of a relation predictor from its weights."""

from collections.abc import Mapping

from torch import Tensor

from relations.settings import PredictorSettings
from relations.sttran import PUBLISHED_HEADS

#: Names of tensors that occur only in relation predictors.
MARKS = (
    "glocal_transformer.position_embedding.weight",
    "subj_fc.weight",
    "vr_fc.weight",
    "a_rel_compress.weight",
    "s_rel_compress.weight",
    "c_rel_compress.weight",
)


def is_predictor(state: Mapping[str, Tensor]) -> bool:
    """Return whether a state dict is that of a relation predictor, possibly an incomplete one."""
    return any(name in state for name in MARKS)


def measure_predictor(state: Mapping[str, Tensor], heads: int = 8) -> PredictorSettings:
    """Infer the settings of a relation predictor for Action Genome from its state dict.

    Args:
        state: state dict of `STTran` or of a published checkpoint, which has the same names.
        heads: number of attention heads, which cannot be inferred from the shapes. The default is
            the published number.

    Returns:
        The settings. `dropout` and `single_frame` have their default values.

    Raises:
        ValueError: if a tensor is missing or the sizes are inconsistent.
    """
    try:
        return PredictorSettings(
            num_objects=len(state["obj_embed.weight"]) - 1,
            groups={group: len(state[f"{name}.weight"]) for group, name in PUBLISHED_HEADS.items()},
            feature_width=state["subj_fc.weight"].shape[1],
            union_channels=state["union_func1.weight"].shape[1],
            part_width=len(state["subj_fc.weight"]),
            union_width=len(state["union_func1.weight"]),
            class_width=state["obj_embed.weight"].shape[1],
            position_width=len(state["object_classifier.pos_embed.1.weight"]),
            object_width=len(state["object_classifier.decoder_lin.0.weight"]),
            encoder_layers=_count(state, "local_attention"),
            decoder_layers=_count(state, "global_attention"),
            heads=heads,
            feedforward=_feedforward(state),
        )
    except (KeyError, IndexError, TypeError, StopIteration) as error:
        raise ValueError(
            f"state dict: weights of STTran expected, but reading the sizes raised {error!r}"
        ) from error


def _count(state: Mapping[str, Tensor], part: str) -> int:
    prefix = f"glocal_transformer.{part}.layers."
    return len({name.removeprefix(prefix).split(".")[0] for name in state if prefix in name})


def _feedforward(state: Mapping[str, Tensor]) -> int:
    ends = ".linear1.weight"
    return next(len(value) for name, value in state.items() if name.endswith(ends))
