"""What `tools.benchmark` measures; every table compares within one run.

timing              clocks, memory, the device's matrix rate
detector            ours against the original's formulation and torchvision's stock model
original_loop       how STTran runs its detector, as a formulation over our parts
relations           the relation predictor against the original's loops
training            a step of LaIAR with one thread and with several
original_relations  how STTran runs its transformer, as a formulation over our parts
"""
