"""Drawings and captions of explained videos.

captions   WebVTT captions of the named relations
sheet      contact sheet: the sampled frames in a row with the named relations below
sheet_rows rows of a contact sheet: frames, and the tokens and transitions of a track
video      annotated video: each frame with boxes, above a bar with the actions
canvas     one frame of the annotated video
bar        bar with the actions below the picture
pairs      human-object pairs at any time, between the sampled frames by interpolation
moments    times at which the reasons of actions are shown
pictures   frames of a video file, a frame folder or an array
encoding   video files that are written as a whole or not at all
sound      copy of the sound of a video
painting   colours, fonts, text, boxes and labels
"""
