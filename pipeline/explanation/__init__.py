"""Explanations of predicted actions.

explainer  trained network with its label bank and calibration
builder    explanations as JSON
naming     label bank and its calibration
sentences  one sentence per action
"""
