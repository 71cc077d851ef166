"""Black-box networks that LaIAR is compared with.

They have the relation features of the video branch, but no selection, labels, language branch,
votes or explanations.

baseline     `Baseline`, a network around a pooling of tokens
graph        `TokenGraph`, a spatio-temporal graph network over the tokens
transformer  `TokenTransformer`, a transformer over the tokens
"""
