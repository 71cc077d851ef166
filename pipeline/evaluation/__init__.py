"""Metrics of predictions against annotations.

metrics     mean average precision, as Charades defines it
scoring     action scores of cached clips from a trained network
relations/  recall of predicted relations
"""
