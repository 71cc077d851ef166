"""Weights files and the networks built from them.

files               where weights files are
cards               base of the cards; a weights file with its card
detector_card       card of a detector
predictor_card      card of a relation predictor
model_card          card of a trained LaIAR network
loading             weights into a network, by name
detectors           from settings to a detector with weights
predictors          from settings to a relation predictor with weights
detectron2_backend  a detector of detectron2
checkpoints         checkpoints of other projects, read without running code
run_folder          a trained LaIAR network on disk: its card, weights and label bank
"""
