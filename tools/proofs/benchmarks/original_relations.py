"""STTran's transformer loops, written with our modules.

Python loops pad the frames, fill the windows and read the results one by one. Only the loops follow
STTran (`lib/transformer.py`). The modules are ours, and no code is copied.
"""

import torch
from torch import Tensor

from relations.pair_batch import PairBatch
from relations.sttran import RelationLogits, STTran


def predict_as_original(model: STTran, batch: PairBatch) -> RelationLogits:
    """Predict the relations of one video.

    Args:
        model: the predictor, in eval mode.
        batch: pairs of one video. At least two frames must have pairs.
    """
    features = model.pair_features(batch)
    frame = batch.pair_frame
    num_frames = int(frame.max()) + 1
    longest = max(int((frame == t).sum()) for t in range(num_frames))
    transformer = model.glocal_transformer
    spatial = _spatial(transformer, features, frame, num_frames, longest)
    inputs = features.new_zeros(num_frames - 1, 2 * longest, features.shape[1])
    encoding, padding = torch.zeros_like(inputs), inputs.new_ones(inputs.shape[:2]).bool()
    for j in range(num_frames - 1):
        mine = (frame == j) | (frame == j + 1)
        first, both = int((frame == j).sum()), int(mine.sum())
        inputs[j, :both] = spatial[mine]
        padding[j, :both] = False
        encoding[j, :first] = transformer.position_embedding.weight[0]
        encoding[j, first:both] = transformer.position_embedding.weight[1]
    x = inputs
    for layer in transformer.global_attention.layers:
        x = layer(x, encoding, padding)
    result = torch.zeros_like(features)
    for j in range(num_frames - 1):
        first = int((frame == j).sum())
        if j == 0:
            result[frame == 0] = x[0, :first]
        result[frame == j + 1] = x[j, first : first + int((frame == j + 1).sum())]
    return model.read_groups(batch, result, features, spatial)


def _spatial(
    transformer: torch.nn.Module, features: Tensor, frame: Tensor, num_frames: int, longest: int
) -> Tensor:
    padded = features.new_zeros(num_frames, longest, features.shape[1])
    padding = features.new_ones(num_frames, longest).bool()
    for t in range(num_frames):
        count = int((frame == t).sum())
        padded[t, :count] = features[frame == t]
        padding[t, :count] = False
    for layer in transformer.local_attention.layers:  # type: ignore[union-attr]
        padded = layer(padded, src_key_padding_mask=padding)
    return padded[~padding]
