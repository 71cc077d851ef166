"""Synthetic videos of one person among objects, with their annotations.

Modules that generate the content from configs/world/ and a seed:

rules    validated contents of configs/world/
cast     the actors
plot     random scripts
layout   positions of the person and the objects
looks    random colours, rooms, clutter and encodings
script   description of one video, from which every frame can be rendered
labels   actions of a script, each with the relations that cause it
annotated_script  annotations of a script without its pixels; clips of a cache without features

Modules that render the frames:

sprites  shapes painted into small images with an alpha channel
canvas   an image that records which pixels each object covers
figure   joints and limbs of a person
motion   position, gaze and posture over time
staging  state of the person and of all objects at one time
room     walls, floor, camera and light
render   frames of a script with their boxes and visibility

Modules that write the files:

film     H.264 files with the irregularities of real recordings
record   one video and its ground truth
release  annotations in the formats of Charades and Action Genome
folder   folder of a world, which an interrupted run resumes
preview  contact sheets

Packages of other worlds, which use the modules above:

cad120/  frames and annotations in the form of CAD-120

Modules that compare the world with results of the program:

true_relations  true objects and predicates of tokens
"""
