"""Evaluation of predictions against annotations.

metrics        mean average precision as defined by Charades
inverse_pairs  how well scores distinguish inverse actions
scoring        action scores that a trained network predicts for cached clips
relations/     recall of predicted relations
"""
