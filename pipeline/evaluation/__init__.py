"""How well predictions agree with annotations.

metrics     mean average precision, as Charades defines it
scoring     scores of cached clips by a trained network
relations/  recall of predicted relations
"""
