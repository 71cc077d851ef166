"""The cache on disk: one safetensors file per video.

clip            `CachedClip`, its header, and how it is written
reader          `ClipReader`: a cached clip, whole or some of its frames
clip_checks     shapes and ranges of a clip's arrays
tensor_rows     some rows of a safetensors file
folder          `cache.json`, and writing of clips
manifest        one line per clip
listing         the clips that can be used, and why the others cannot
union_features  how much of the union features is stored
"""
