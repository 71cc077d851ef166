"""How relation predictors are measured.

graphs     scene graphs of cached clips, annotated and predicted, in three modes
scores     recall and accuracy over many frames
report     tables of recall on a terminal
published  numbers of papers
"""
