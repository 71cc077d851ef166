"""Measurements of `tools.faithfulness`.

clips          explained clips
causes         causes of the actions of the synthetic world, and whether a reason states one
readers        reasons of other rules, for comparison
interventions  scores of the network under changes of the tokens of a clip
summary        means with bootstrap intervals over videos
"""
