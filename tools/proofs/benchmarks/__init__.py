"""Speed measurements of `tools.benchmark`. Each table compares variants within one run.

timing              measurement of time, memory and the matrix rate of a device
detector            detector, compared with STTran's implementation and torchvision's Faster R-CNN
original_loop       STTran's detector loop, written with our modules
relations           relation predictor, compared with STTran's loops
original_relations  STTran's transformer loops, written with our modules
training            training step of LaIAR with one thread and with several threads
training_loop       loop of `pipeline.train`, compared with samples in memory
selection           cost of the token selector in training, and its gain in prediction
extraction          `pipeline.extract`, compared with its parts
decoding            decoding of evenly spaced frames, compared with other decoders
prediction          prediction from the video file to the report, by stage
cache_reading       reading of frames from cached clips, compared with a plain read
"""
