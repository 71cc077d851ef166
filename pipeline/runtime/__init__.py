"""Services that all commands share.

command_line  arguments, exit codes and signals
run_record    `run.json` and the counts of a run
failures      `failures.jsonl`, the list of failed videos
item_errors   conversion of exceptions of one video into `ItemError`
progress      progress bar on a terminal, one line per minute in a log
channel       bounded queue between threads
devices       torch devices and CPU threads
files         atomic writes, JSON files and SHA-256
writers       locks and leftover files of folders with several writers
"""
