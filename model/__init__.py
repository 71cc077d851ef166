"""LaIAR: tensors in, action logits with reasons out; knows neither detection nor relations.

tokens  what the model eats and gives back: `TokenBatch`, `ActionOutput`
"""
