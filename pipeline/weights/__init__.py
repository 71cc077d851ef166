"""Weights files and the networks built from them.

cards               a weights file with its card
detector_card       card of a detector
predictor_card      card of a relation predictor
detectors           from settings to a detector with weights
predictors          from settings to a relation predictor with weights
detectron2_backend  a detector of detectron2
checkpoints         checkpoints of other projects, read without running code
run_folder          a trained LaIAR network on disk
"""
