"""Samples for the network, built from cached clips.

dataset        `ClipDataset` of cached clips, and its batches
labels         labels of clips, and of subsets of their tokens
folds          divisions of the videos into training and test videos
listing        labelled samples of a cache: its videos, or the spans of its videos
clip_tokens    conversion of a clip to tokens
memory         clips that stay in memory from one epoch to the next
clip_features  clip features of the samples of a network
"""
