"""How `tools.train_relations` works.

settings      every setting, with its default
samples       annotated pairs of cached clips
learner       the loop's step, and the state it is taken up again from
word_vectors  class embeddings from a GloVe file
"""
