"""Weights of a trained network with which another training run starts."""

from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import UsageError
from pipeline.weights.loading import load_state
from pipeline.weights.model_card import ModelCard
from pipeline.weights.run_folder import WEIGHTS, read_card, read_weights

#: Buffers of the labels that tokens are read as. They belong to the training videos.
_LABELS = "reader."


def initial_weights(run: Path, card: ModelCard) -> dict[str, Tensor]:
    """Read the weights of a trained network and check them for another training run.

    Args:
        run: run folder of the trained network.
        card: card of the network to train.

    Returns:
        Tensors by name, without the labels that tokens are read as.

    Raises:
        UsageError: if the networks have other classes, object classes, predicates or sizes, or a
            file is missing or damaged.
    """
    there = read_card(run).cache
    for name in ("classes", "objects", "predicate_groups"):
        if getattr(there, name) != getattr(card.cache, name):
            raise UsageError(
                f"--init-from: the {name} of the cache expected, {run} was trained with other ones"
            )
    state = {k: v for k, v in read_weights(run).items() if not k.startswith(_LABELS)}
    with torch.device("meta"):
        model = card.build()
    own = {k: v for k, v in model.state_dict().items() if k.startswith(_LABELS)}
    try:
        load_state(model, state | own, only_check=True)
    except ValueError as error:
        raise UsageError(
            f"--init-from: {run / WEIGHTS} does not fit the settings of this network: {error}"
        ) from error
    return state
