"""Training of relation predictors (`tools.train_relations`).

settings      all settings with their defaults
samples       annotated pairs of cached clips
learner       training step and resumable checkpoint
word_vectors  class embeddings from a file of word vectors
"""
