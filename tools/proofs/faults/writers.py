"""Several extraction processes that write to one folder."""

import fcntl
import time
from contextlib import nullcontext
from unittest.mock import patch

from tools.proofs.faults.lab import Lab, Tally, left_over, tree


def together(lab: Lab, number: int) -> Tally:
    """Run two to four concurrent commands on one folder, with working and with disabled locks."""
    tally = Tally(
        "2 to 4 writers",
        "all exit 0, no line is lost, the cache is byte-identical to the cache of one run",
    )
    for trial in range(number):
        cache, count = lab.new(), lab.random.randint(2, 4)
        is_broken = trial % 2 == 1
        # The forked processes acquire every lock immediately, as on some network file systems.
        no_locks = patch.object(fcntl, "flock", lambda *_: None)
        with no_locks if is_broken else nullcontext():
            processes = []
            for word in _ways(lab, count):
                processes.append(lab.extract(cache, *word))
                time.sleep(lab.random.uniform(0, lab.seconds / 3))
            codes = [process.wait() for process in processes]
        last = lab.extract(cache)  # adds missing lines, sorts the manifest and extracts no video
        codes.append(last.wait())
        problem = None
        if any(codes):
            problem = f"exit codes {codes}"
        elif "done 0, skipped 4" not in last.log.read_text():
            problem = "clips were missing after all writers had ended"
        elif tree(cache) != lab.whole or left_over(cache):
            problem = f"the result differs; temporary files: {left_over(cache)}"
        tally.count(problem, f"{count} writers, broken locks: {is_broken}, {cache}")
        lab.forget(*(() if problem else (cache,)))
    tally.notes["with locks that do nothing"] = number // 2
    return tally


def _ways(lab: Lab, count: int) -> list[tuple[str, ...]]:
    """Return the arguments of every writer, either none or one shard per writer."""
    if lab.random.random() < 0.5:
        return [()] * count
    return [("--shard", f"{i + 1}/{count}") for i in range(count)]
