"""A small synthetic world: a person, objects, and what happens between them.

rules    states, stories and actions, from configs/world/actions.yaml
script   what happens in one video, drawn from its seed
figure   a person in a pose
render   a frame of a script: image and boxes
release  videos and annotations in the formats of Charades and Action Genome
"""
