"""Comparison with numbers of the reference implementations.

Each check returns (largest error, tolerance, position of the error).

weight_rule      deterministic weights of the reference networks
detector_jwyang  Faster R-CNN C4 of STTran
sttran           relation predictor in its three modes
recall           recall of scene graphs
small            weight rule, Charades mAP, GPO and spatial masks
"""
