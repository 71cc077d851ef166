"""From videos to the clips of a cache.

job        what there is to do, checked before any network is built
clip       one video: frames, boxes, pairs, features, together a `CachedClip`
steps      the three steps of a video: examine, extract, store
local      all videos on the devices of this machine, the steps side by side
cluster    all videos on a Ray cluster, whole videos side by side
shard      the part of the videos that one of several commands takes
estimate   how long it will take and how much disk, without running anything
"""
