"""Human-object pairs, their geometry and their predicates.

graph          the `RelationGraph` of one frame
pairs          which boxes form a pair
boxes          union boxes
spatial_masks  the two 27x27 images of a pair
"""
