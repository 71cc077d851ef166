"""Evaluation of predictions against annotations.

metrics          mean average precision as defined by Charades
inverse_pairs    how well scores distinguish inverse actions
names            scores of the names and the tracks of tokens
temperature      temperature of action scores, which makes them calibrated probabilities
evaluated_split  test videos of a dataset with and without scores
results          `metrics.json`, AP per class, and scores
scoring          action scores that a trained network predicts for cached clips
relations/       recall of predicted relations
"""
