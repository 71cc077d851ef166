"""From videos to the clips of a cache.

job                  what there is to do, checked before any network is built
clip                 one video: frames, boxes, pairs, features, together a `CachedClip`
relation_prediction  predicates of a clip by the relation predictor
steps                the three steps of a video: examine, extract, store
local                all videos on the devices of this machine
cluster              all videos on a Ray cluster
shard                the part of the videos that one of several commands takes
estimate             time and disk space that an extraction will take
"""
