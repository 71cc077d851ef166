"""From cached clips to what the network takes.

dataset      clips of a cache as samples, and batches of them
clip_tokens  the tokens of one clip
"""
