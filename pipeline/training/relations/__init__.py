"""Training of relation predictors (`tools.train_relations`).

settings      all settings with their defaults
samples       annotated pairs of cached clips
task          network, loss, data and validation
word_vectors  class embeddings from a file of word vectors
"""
