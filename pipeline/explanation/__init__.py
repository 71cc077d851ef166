"""Explanations of predicted actions.

explanation     `Explanation` as a frozen type
predictions     types of predicted actions and their reasons
observations    types of what a network observes in a video: frames, people, tokens, names
explained_clip  names of the tokens of a clip, and the reasons of its actions
thumbnails      small JPEG images of the frames of a video
windows         choice of the windows of a long video that are explained
builder         construction of explanations
naming          construction of the label bank, and calibration of the names
familiarity     distance of a video's features to those of the training videos
reason          reasons of actions: minimal sets of kept tokens, described by their names
sentences       sentences that state the reasons
wording         words of the sentences, by vocabulary
edits           edits of named relations, and what they change
what_if         prediction after edits in the joint space
formats         formats in which an explanation is written
output          the files of an explanation in an output folder
prediction_rows lines of `predictions.jsonl`
exports/        files with explanations in the formats of other tools
report/         HTML pages of explained videos
media/          captions, contact sheets and annotated videos
"""
