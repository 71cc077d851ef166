"""Training of LaIAR, of detectors and of relation predictors.

job        settings, clips and card of a LaIAR training run run
loop       training loop, with validation, label bank and calibration
learner    training step and resumable checkpoint of LaIAR
optimizer  optimiser, learning rate schedule and step in mixed precision
state      run folder and resumable checkpoint `state.pt`
log        `log.jsonl` and TensorBoard files
detector/  training of detectors
relations/ training of relation predictors
"""
