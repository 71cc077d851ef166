"""Training of LaIAR, of detectors and of relation predictors.

trainer          training loop with a resumable checkpoint, `Trainer`
task             what a `Trainer` trains: network, loss, data and validation
parts            division of a step among processes, and among the passes of a process
processes        processes that train one network, started by torchrun
batch_norm       batch normalisation over the samples of all processes
average          moving average of the weights
optimizer        optimiser, learning rate schedule and mixed precision
state            run folder and resumable checkpoint `state.pt`
log              `log.jsonl` and TensorBoard files
laiar/           training of LaIAR
detector/        training of detectors
relations/       training of relation predictors
"""
