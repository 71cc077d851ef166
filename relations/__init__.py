"""Human-object pairs, their geometry and their predicates.

graph              the `RelationGraph` of one frame
pairs              which boxes form a pair
boxes              union boxes
spatial_masks      the two 27x27 images of a pair
carry              annotated relations on detected boxes
sttran             the predictor; its parts: object_classifier, spatio_temporal over windows
settings, measure  its sizes, given or read off weights
pair_batch         what it takes
loss               what it learns from
scene_objects      which boxes a scene graph has, and what they are called
recall             R@K of scene graphs
frequency          the baseline that looks at nothing
"""
