"""Cache on disk, with one safetensors file per video.

clip            `CachedClip`, its header, and the writer of clip files
reader          `ClipReader`, which reads a cached clip or some of its frames
clip_checks     checks of the shapes and values of a clip's arrays
tensor_rows     reader of single rows of a safetensors file
tensor_header   parser of the header of a safetensors file
folder          `cache.json`, and the functions that add clips to a cache
manifest        `manifest.jsonl`, with one line per clip
listing         usable clips of a cache, and the errors of unusable clips
union_features  reduction of the union features before they are stored
clip_features   folder of clip features, the vectors of whole videos
"""
