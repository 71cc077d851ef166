"""The cache on disk: one safetensors file per video.

clip            `CachedClip`, its header, and its reader
clip_checks     shapes and ranges of a clip's arrays
tensor_rows     some rows of a safetensors file
folder          `cache.json`, the manifest, and writing of clips
union_features  how much of the union features is stored
"""
