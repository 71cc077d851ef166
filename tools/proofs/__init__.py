"""Code behind the commands `faults`, `check_reference` and `benchmark`.

faults/      extraction under faults of disks, files and processes
reference/   comparison with numbers of the original code
benchmarks/  speed measurements, as ratios within one run
"""
