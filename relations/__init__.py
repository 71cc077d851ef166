"""Human-object pairs, their geometry and their predicates.

graph  the `RelationGraph` of one frame
"""
