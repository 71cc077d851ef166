"""Captions, contact sheets and annotated videos of explanations.

captions   WebVTT captions of the named relations
"""
