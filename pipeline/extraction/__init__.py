"""Extraction of the videos of a folder into a cache of clips.

job                  inputs of an extraction, checked before any network is built
clip                 `ClipExtractor`, which converts the decoded frames of a video to a `CachedClip`
annotated            clips without features, made of annotations alone
labels               labels and annotated relations of clips, and their replacement
person_choice        choice of the person whose pairs are extracted
relation_prediction  predicates of a clip, computed by the relation predictor
steps                steps of the extraction of each video, and the networks on a device
clip_features        stage that computes clip features
estimate             estimate of the time and disk space of an extraction
"""
