"""LaIAR: tensors in, action logits with reasons out; knows neither detection nor relations.

tokens             input and output: `TokenBatch`, `ActionOutput`
relation_features  Eqs. 1 and 2: what a token says in pictures and in words
gpo                generalised pooling, the context of the encoders
losses             the terms of Eq. 11
"""
