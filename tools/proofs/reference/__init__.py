"""Comparison with numbers of the original code; a check returns (error, tolerance, where).

weight_rule      deterministic weights of the reference networks
detector_jwyang  Faster R-CNN C4 of STTran
sttran           relation predictor in its three modes
recall           recall of scene graphs
small            weight rule, Charades mAP, GPO, spatial masks
"""
