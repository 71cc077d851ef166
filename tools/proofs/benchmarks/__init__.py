"""Speed measurements of `tools.benchmark`; every table compares variants within one run.

timing              time, memory and the device's matrix rate
detector            detector against STTran's formulation and torchvision's stock model
original_loop       STTran's detector loop, written with our modules
relations           relation predictor against STTran's loops
original_relations  STTran's transformer loops, written with our modules
training            training step of LaIAR with one and with several threads
extraction          `pipeline.extract` against its parts
cache_reading       reading frames of cached clips against a plain read
"""
