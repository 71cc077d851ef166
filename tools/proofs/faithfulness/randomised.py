"""Reasons of a network with randomised parameters."""

import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from model.laiar import LaIAR
from pipeline.explanation.explained_clip import ExplainedClip, Network, explain_clip
from tools.proofs.faithfulness.interventions import DRAWS

#: Modules of the network that read tokens. Their parameters stay the same.
READING = (
    "visual",
    "semantic",
    "visual_encoder",
    "semantic_encoder",
    "token_semantic",
    "token_encoder",
    "reader",
)


def with_random_parameters(network: Network, seed: int) -> Network:
    """Return a network whose transformer, selectors and readouts are random.

    The entries of each parameter outside the modules in `READING` are permuted. The tokens and
    their names stay the same.

    Args:
        network: the network, which does not change.
        seed: seed of the permutations.
    """
    model: LaIAR = copy.deepcopy(network.model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.partition(".")[0] not in READING:
                order = torch.randperm(parameter.numel(), generator=generator)
                flat = parameter.flatten()[order.to(parameter.device)]
                parameter.copy_(flat.view_as(parameter))
    return replace(network, model=model)


def randomised_scores(
    network: Network, clip: ExplainedClip, rng: np.random.Generator
) -> dict[str, list[float]]:
    """Return how similar the reasons are to those of a network with randomised parameters.

    R are the tokens of a reason, S the kept tokens, and R' the tokens of the reason of the same
    action in the randomised network. Reasons without tokens are left out.

    - `randomised parameters`: Jaccard similarity |R & R'| / |R | R'|.
    - `randomised parameters, random`: mean Jaccard similarity of R and random subsets of S of the
      same size.
    - `randomised parameters, no token`: 1 if R' is empty.

    Args:
        network: result of `with_random_parameters`.
        clip: clip with the reasons of the trained network.
        rng: random number generator of the subsets.

    Returns:
        One value per reason for each name.
    """
    actions = [action for action, reason in clip.reasons.items() if reason.tokens]
    again = explain_clip(network, clip.clip, actions=actions).reasons if actions else {}
    found: dict[str, list[float]] = {
        "randomised parameters": [],
        "randomised parameters, random": [],
        "randomised parameters, no token": [],
    }
    similar, control, empty = found.values()
    for action in actions:
        tokens, other = clip.reasons[action].tokens, again[action].tokens
        similar.append(jaccard(tokens, other))
        drawn = [rng.choice(clip.tokens.kept, len(tokens), replace=False) for _ in range(DRAWS)]
        control.append(float(np.mean([jaccard(tokens, d.tolist()) for d in drawn])))
        empty.append(float(not other))
    return found


def jaccard(first: Sequence[int], second: Sequence[int]) -> float:
    """Return the Jaccard similarity of two sets of tokens, 1 if both are empty."""
    a, b = {*first}, {*second}
    return len(a & b) / len(a | b) if a | b else 1.0
