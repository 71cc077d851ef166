"""Sizes of a relation predictor, read off its weights."""

from collections.abc import Mapping

from torch import Tensor

from relations.settings import PredictorSettings

#: A name that only a relation predictor has.
MARK = "glocal_transformer.position_embedding.weight"


def measure_predictor(state: Mapping[str, Tensor], heads: int = 8) -> PredictorSettings:
    """The network whose weights these are.

    Args:
        state: named as in STTran's published checkpoints, or by `STTran` itself.
        heads: of the attention, which leave no trace in the shapes; 8 as published.

    Raises:
        ValueError: if a part is missing, or the sizes contradict each other.
    """
    try:
        return PredictorSettings(
            num_objects=len(state["obj_embed.weight"]) - 1,
            attention=len(state["a_rel_compress.weight"]),
            spatial=len(state["s_rel_compress.weight"]),
            contacting=len(state["c_rel_compress.weight"]),
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
        raise ValueError(f"state dict: the parts of STTran expected, {error!r} is not") from error


def _count(state: Mapping[str, Tensor], part: str) -> int:
    prefix = f"glocal_transformer.{part}.layers."
    return len({name.removeprefix(prefix).split(".")[0] for name in state if prefix in name})


def _feedforward(state: Mapping[str, Tensor]) -> int:
    ends = ".linear1.weight"
    return next(len(value) for name, value in state.items() if name.endswith(ends))
