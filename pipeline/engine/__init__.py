"""Engine that runs a stage, such as the extraction or the prediction, over many videos.

stage      tasks, outcomes and the steps of a video that a stage implements
tasks      one task per video, and videos with the same id
local      engine for the devices of this machine
ray        engine for a Ray cluster
shard      division of the videos among several commands
accounts   counts, failures and the budget of a run
arguments  arguments that commands with an engine have in common
"""
