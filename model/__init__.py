"""LaIAR network, which computes action logits, selections and contributions from tokens.

The package imports neither `detection` nor `relations`.

build              construction of the network from its settings
criterion          training loss, Eq. 11
dt_former          DT-Former with position embeddings, token selectors and transformer
encoder            encoders that map relation features to the joint space
gpo                generalised pooling operator, which computes the context of the encoders
label_bank         label bank, which names tokens by their nearest prototypes
laiar              `LaIAR`, the network with a video branch and a language branch
leave_one_out      contributions of kept tokens to the action logits
losses             terms of Eq. 11
relation_features  visual and semantic relation features, Eqs. 1 and 2
selector           token selectors, Eq. 3
settings           `LaIARSettings`, the sizes, options and presets of the network
tokens             input and output types `TokenBatch` and `ActionOutput`
transformer        transformer with gated attention, Eqs. 4 to 6
"""
