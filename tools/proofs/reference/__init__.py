"""Our code against numbers of the original code; a check gives (error, tolerance, worst place).

weight_rule      the weights every reference file was made with
detector_jwyang  Faster R-CNN C4 of STTran
sttran           the relation predictor in its three modes
recall           recall of scene graphs
small            weight rule, Charades mAP, GPO, spatial masks
"""
