"""Training of LaIAR, of detectors and of relation predictors.

job        checked settings, clips and card of a LaIAR training
loop       epochs and validation, then the label bank and its calibration
learner    training step of LaIAR and its resumable checkpoint
optimizer  optimiser, learning rate schedule and step in mixed precision
state      run folder and its resumable checkpoint `state.pt`
log        `log.jsonl` and TensorBoard files
detector/  training of detectors
relations/ training of relation predictors
"""
