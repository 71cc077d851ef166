"""Samples for the network from cached clips.

dataset      `ClipDataset` of cached clips, and its batches
clip_tokens  tokens of a clip
"""
