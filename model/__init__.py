"""The LaIAR network: from token tensors to action logits, selection and contributions.

The package imports neither `detection` nor `relations`.

build              construction of the network from its settings
criterion          training loss, Eq. 11
dt_former          DT-Former: positions, token selection, transformer
encoder            relation features to embeddings in the joint space
gpo                generalised pooling, the context of the encoders
label_bank         names of tokens from the nearest prototypes
laiar              `LaIAR`: video branch and language branch
leave_one_out      contributions of kept tokens to the action logits
losses             terms of Eq. 11
relation_features  visual and semantic relation features, Eqs. 1 and 2
selector           token selectors, Eq. 3
settings           `LaIARSettings`: sizes, options and presets
tokens             input and output types: `TokenBatch`, `ActionOutput`
transformer        transformer with gated attention, Eqs. 4 to 6
"""
