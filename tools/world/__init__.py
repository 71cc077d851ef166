"""A synthetic world: people, objects, and what happens between them.

What is drawn, from configs/world/:

rules    everything of configs/world/, as checked types
cast     the people
plot     what happens in a video, drawn from its seed
layout   where the person stands and where things are
looks    colours, rooms, clutter, film, drawn by chance
script   a video as data: enough to draw any of its frames again
labels   the actions of a script, each with the change of relations that causes it

How it is drawn:

sprites  shapes painted once
canvas   an image that remembers what was painted where
figure   a person's joints and limbs
motion   numbers over time: places, gazes, postures
staging  where everybody and everything is at one time
room     walls, floor, camera, light
render   a frame: image, boxes, visibility

What is written:

film     H.264 with the oddities of real files
record   one video and what is known of it
release  annotations in the formats of Charades and Action Genome
preview  contact sheets
"""
