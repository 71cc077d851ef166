"""Speed measurements of `tools.benchmark`. Each table compares variants within one run.

timing              measurement of time, memory and the matrix rate of a device
detector            detector, compared with STTran's implementation and torchvision's Faster R-CNN
original_loop       STTran's detector loop, written with our modules
relations           relation predictor, compared with STTran's loops
original_relations  STTran's transformer loops, written with our modules
training            training step of LaIAR with one thread and with several threads
selection           cost of the token selector in training, and its gain in prediction
extraction          `pipeline.extract`, compared with its parts
cache_reading       reading of frames from cached clips, compared with a plain read
"""
