"""What every command needs, whatever it does.

command_line  arguments, exit codes and signals
run_record    `run.json` and the counts of a run
failures      `failures.jsonl`: why items have no result
item_errors   an exception of one video becomes its failure
progress      a bar on a terminal, a line a minute in a log
channel       a bounded queue between threads
devices       devices by name
files         atomic files and checksums
writers       several processes that write to one folder
"""
