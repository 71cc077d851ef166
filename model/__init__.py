"""LaIAR network, which computes action logits, selections and contributions, and baselines.

The package imports neither `detection` nor `relations`.

baselines/         black-box networks that LaIAR is compared with
build              construction of the networks from their settings
clip_feature       readout of a clip feature, the vector of a whole video
criterion          training loss, Eq. 11
dt_former          DT-Former with position embeddings, token selectors and transformer
encoder            encoders that map relation features to the joint space
gpo                generalised pooling operator, which computes the context of the encoders
label_bank         label bank, which names tokens by their nearest prototypes
labels             labels of tokens, and reading of visual tokens as labels
laiar              `LaIAR`, the network with a video branch and a language branch
losses             terms of Eq. 11
minimal_reason     small sets of kept tokens from which an action is predicted as from all
network            base class of LaIAR and the baselines
noise              random numbers of videos, which do not depend on the batch
readout            readout of action logits, with votes of the tokens
relation_features  visual and semantic relation features, Eqs. 1 and 2
selector           token selectors, Eq. 3, and random subsets of tokens
settings           `LaIARSettings`, the sizes, options and presets of the networks
subset_selector    selector that learns which tokens preserve the prediction
token_scorer       scores from subsets of the tokens of a video, and from edited tokens
tokens             input and output types `TokenBatch`, `ActionOutput` and `BranchOutputs`
transformer        transformer with gated attention, Eqs. 4 to 6
transitions        changes since the previous kept token of a track
"""
