"""Weights files and the networks built from them.

files               search for weights files
cards               base class of the cards, and weights files with a card
detector_card       card of a detector
predictor_card      card of a relation predictor
model_card          card of a trained LaIAR network
loading             loading of weights into a network, by name
detectors           detectors with weights, built from settings
predictors          relation predictors with weights, built from settings
detectron2_backend  detectron2 models as detectors
checkpoints         checkpoints of other projects, read without running code
run_folder          run folder with the card, weights and label bank of a trained network
"""
