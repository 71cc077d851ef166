"""Training of LaIAR, of detectors and of relation predictors.

job              settings, clips and card of a LaIAR training run
run_opening      opening of the run folder of a LaIAR training run
initial_weights  weights of a trained network with which another training run starts
loop             training loop, with validation, label bank and calibration
learner          training step and resumable checkpoint of LaIAR
optimizer        optimiser, learning rate schedule and step in mixed precision
state            run folder and resumable checkpoint `state.pt`
log              `log.jsonl` and TensorBoard files
detector/        training of detectors
relations/       training of relation predictors
"""
