"""What each cell, gate mode, bit width and size gives on real recordings, with the spread over seeds.

EDGE_LSTM_DATA=<folder> python benchmarks/accuracy.py [--only hapt-2] [--seeds 0,1,2,3,4] [--processes 2] [--dry-run]
EDGE_LSTM_DATA=<folder> python benchmarks/accuracy.py --table

Does the trainings of the rows of `accuracy_rows.py` that benchmarks/results/accuracy.jsonl does not have yet, each in a
process of its own with one thread, and adds a line to that file for each. `--table` trains nothing, and writes the
tables of what is in the file into docs/benchmarks.md. After an interruption the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from accuracy_log import of_job, read
from accuracy_rows import ROWS, Job, Row, jobs, matching
from accuracy_table import page, tables

from edge_lstm.errors import EdgeLstmError

HERE = Path(__file__).parent
LOG = HERE / "results" / "accuracy.jsonl"
PAGE = HERE.parent / "docs" / "benchmarks.md"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def missing(rows: Sequence[Row], seeds: Sequence[int], log: Path) -> list[Job]:
    """Trainings that are not in the log."""
    records = read(log)
    return [job for job in jobs(rows, seeds) if of_job(records, job) is None]


def run(todo: Sequence[Job], log: Path, processes: int, say: Callable[[str], None] = print) -> int:
    """Do the trainings, so many at a time.

    Returns:
        How many failed; each was told with the last line of what it said.
    """
    failed = 0
    with ThreadPoolExecutor(processes) as pool:
        started = {pool.submit(_train, job, log): job for job in todo}
        try:
            for number, future in enumerate(as_completed(started), 1):
                seconds, reason = future.result()
                failed += bool(reason)
                outcome = f"failed: {reason}" if reason else f"{seconds:.0f} s"
                say(f"{number}/{len(todo)} {started[future].name}: {outcome}")
        except KeyboardInterrupt:  # the trainings get it from the terminal, too, and end
            pool.shutdown(cancel_futures=True)
            raise
    return failed


def _train(job: Job, log: Path) -> tuple[float, str]:
    """Seconds, and why it failed; nothing where it did not."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(HERE / "accuracy_job.py"), str(log)],
        input=json.dumps(job.to_json()),
        capture_output=True,
        text=True,
        env={**os.environ, **_ONE_THREAD},
        check=False,
    )
    said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
    return time.perf_counter() - begin, said[-1] if done.returncode else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="PATTERN", help="Rows with this in their name; * is anything.")
    parser.add_argument("--seeds", default="0,1,2,3,4", help="Such as 0,1,2.")
    parser.add_argument("--processes", type=int, default=2, help="Trainings at a time.")
    parser.add_argument("--dry-run", action="store_true", help="Only say what would be trained.")
    parser.add_argument("--table", action="store_true", help="Only write the tables into docs/benchmarks.md.")
    arguments = parser.parse_args()
    try:
        seeds = [int(seed) for seed in arguments.seeds.split(",")]
        if arguments.table:
            PAGE.write_text(page(PAGE.read_text(), tables(ROWS, read(LOG), seeds)))
            return 0
        todo = missing(matching(ROWS, arguments.only), seeds, LOG)
        if arguments.dry_run:
            print(*(job.name for job in todo), f"{len(todo)} trainings", sep="\n")
            return 0
        return 1 if run(todo, LOG, arguments.processes, lambda line: print(line, flush=True)) else 0
    except (EdgeLstmError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    sys.exit(main())
