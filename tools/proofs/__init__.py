"""Proofs behind the commands `faults`, `check_reference` and `benchmark`.

faults/      extraction under faults of disks, files and processes
reference/   our numbers against those of the original code
benchmarks/  speed, as ratios within one run
"""
