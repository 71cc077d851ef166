"""Evaluation of predictions against annotations.

metrics          mean average precision as defined by Charades
rule_table       actions that the rules of CAD-120 infer from annotated relations
recall           mean average recall of single-label datasets
inverse_pairs    how well scores distinguish inverse actions
names            scores of the names and the tracks of tokens
temperature      temperature of action scores, which makes them calibrated probabilities
evaluated_split  test videos of a dataset with and without scores
results          `metrics.json`, AP and recall per class, and scores
submission       text files of scores for the official evaluation of Charades
slowfast         scores that the test of SlowFast saves
official_labels  labels of the test videos of Charades
scoring          action scores that a trained network predicts for cached clips
relations/       recall of predicted relations
"""
