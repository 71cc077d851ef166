"""Training of LaIAR (`pipeline.train`).

cache_check      whether a cache matches the configuration
job              settings, clips and card of a training run
run_opening      opening of a run folder
initial_weights  weights of a trained network with which another training run starts
task             network, data and validation
objective        loss of a batch of videos, with subsets and excerpts
finishing        label bank, calibration and familiarity, written after the last epoch
"""
