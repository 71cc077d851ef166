"""Samples for the network, built from cached clips.

dataset      `ClipDataset` of cached clips, and its batches
clip_tokens  conversion of a clip to tokens
"""
