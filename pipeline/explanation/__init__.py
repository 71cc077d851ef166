"""Explanations of predicted actions.

explainer    trained network with its label bank and calibration
builder      construction of explanations as JSON
naming       construction of the label bank, and calibration of the names
familiarity  distance of a video's features to those of the training videos
reason       reasons of actions: minimal sets of kept tokens, described by their names
sentences    sentences that state the reasons
"""
