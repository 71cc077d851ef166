"""Why a video got its actions.

explainer  a trained network with all that an explanation needs
builder    the explanation as JSON
naming     the label bank and its calibration
sentences  one sentence per action
"""
