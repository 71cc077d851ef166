"""Services shared by all commands.

command_line  arguments, exit codes and signals
run_record    `run.json` and the counts of a run
failures      `failures.jsonl`, the list of failed videos
item_errors   conversion of exceptions to `ItemError`
progress      progress display: a bar on a terminal, or one log line per minute
channel       bounded queue between threads
devices       torch devices and CPU threads
files         atomic writes, JSON files and SHA-256
row_files     files with one JSON line per item, for several writers
path_lists    list files of paths, and rejection of URLs
writers       locks and leftover temporary files of folders with several writers
"""
