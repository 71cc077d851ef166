"""Measurements of `tools.faithfulness`.

study          all measurements of many clips
clips          explained clips
annotations    annotations with which reasons are compared
causes         causes of the actions of the synthetic world, and whether a reason states one
rationales     agreement of reasons with the objects and intervals of actions
readers        reasons of other rules, for comparison
interventions  scores of the network under changes of the tokens of a clip
randomised     reasons of a network with randomised parameters
names          truth of the names of kept tokens
stability      reasons in a second cache of the same videos
videos         selection of tokens over all videos: mAP, mask probe, inverse pairs
summary        means with bootstrap intervals over videos
"""
