"""Prediction and explanation of videos by a trained network.

job        inputs of a prediction, checked before the networks are built
explainer  trained network and its detector on a device
steps      steps of the prediction of each video
"""
