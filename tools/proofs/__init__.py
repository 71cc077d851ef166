"""Implementation of the commands `faults`, `check_reference` and `benchmark`.

faults/      extraction under faults of disks, files and processes
reference/   comparison with numbers of the reference implementations
benchmarks/  speed measurements, reported as ratios within one run
"""
