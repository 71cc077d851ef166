"""Evaluation of predictions against annotations.

metrics     mean average precision as defined by Charades
scoring     action scores that a trained network predicts for cached clips
relations/  recall of predicted relations
"""
