"""Training of LaIAR, of detectors and of relation predictors.

job        what a training consists of, checked before it starts
loop       epochs, validation, and what follows the last epoch
learner    one step of the optimiser
optimizer  the optimiser, its schedule and its step in mixed precision
state      the run folder and its resumable checkpoint `state.pt`
log        `log.jsonl`, and TensorBoard files
detector/  training of detectors
relations/ training of relation predictors
"""
