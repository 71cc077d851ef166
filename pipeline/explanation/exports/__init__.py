"""Files with explanations in the formats of other tools (`docs/exports.md`).

writing      `write_exports`, which writes the files of the chosen formats
saved        explained videos of an output folder
exported     types of an exported video, and its boxes by frame
files        streaming writing of files that are published together
coco         boxes of the sampled frames as a COCO data set
ava          actions of the person at each whole second, as AVA detections
charades     actions as a table of Charades, and scores as a submission to its evaluation
labelstudio  tasks with predictions for Label Studio, and the labelling configuration
fiftyone     data set of videos for FiftyOne
"""
