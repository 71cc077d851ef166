"""The cache on disk: one safetensors file per video.

clip            `CachedClip`, its header, and the writer of clip files
reader          `ClipReader`, which reads a cached clip or some of its frames
clip_checks     checks of the shapes and values of a clip's arrays
tensor_rows     reader of single rows of a safetensors file
folder          `cache.json`, and the functions that add clips to a cache
manifest        `manifest.jsonl`: one line per clip
listing         usable clips of a cache, and the reasons why others are unusable
union_features  reduction of the union features before they are stored
"""
