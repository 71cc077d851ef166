"""Evaluation of relation predictors.

graphs     annotated and predicted scene graphs of cached clips, in three modes
scores     recall and accuracy over many frames
report     recall tables for the terminal
published  recall values published in papers
"""
