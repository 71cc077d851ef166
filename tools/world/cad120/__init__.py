"""Synthetic videos in the form of CAD-120 with the annotations of EVAR.

rules        validated contents of configs/world/cad120.yaml
knowledge    the files of rules
table        places on the table and sizes of objects
performance  movements of the hands and the objects, frame by frame
script       description of one video
play         performance of an activity
plot         random scripts of videos
clips        clips of the actions of a video
render       frames with the boxes of hands, head and objects
record       frames and annotations of one video
release      annotation files
preview      contact sheets
"""
