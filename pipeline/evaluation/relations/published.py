"""Published recall R@10/20/50 in percent on the test split of Action Genome.

The values of STTran are from Cong et al., ICCV 2021. The values of each later method are from the
paper that introduced it.
"""

from relations.recall import Constraint

Row = tuple[float, float, float]

#: Mode -> constraint -> method -> R@10, R@20 and R@50.
RECALL: dict[str, dict[Constraint, dict[str, Row]]] = {
    "predcls": {
        "with": {"STTran": (68.6, 71.8, 71.8), "OED": (73.0, 76.1, 76.1)},
        "semi": {"STTran": (73.2, 83.1, 84.0)},
        "no": {"STTran": (77.9, 94.2, 99.1)},
    },
    "sgcls": {
        "with": {"STTran": (46.4, 47.5, 47.5)},
        "semi": {"STTran": (51.2, 56.5, 56.8)},
        "no": {"STTran": (54.0, 63.7, 66.4)},
    },
    "sgdet": {
        "with": {
            "STTran": (25.2, 34.1, 37.0),
            "APT": (26.3, 36.1, 38.3),
            "TR2": (26.8, 35.5, 38.3),
            "TEMPURA": (28.1, 33.4, 34.9),
            "DSG-DETR": (30.3, 34.8, 36.1),
            "OED": (33.5, 40.9, 48.9),
        },
        "semi": {"STTran": (24.6, 35.9, 44.0)},
        "no": {"STTran": (24.6, 36.2, 48.8)},
    },
}
#: Mean recall of STTran at K = 10 and 20 (PredCLS, with constraint), from the paper of TEMPURA.
MEAN_RECALL = {"predcls": {"with": {"STTran": (37.8, 40.1)}}}
