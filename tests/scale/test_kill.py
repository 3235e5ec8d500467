"""`kill -9` at random moments, over and over: what is written in the end is what an undisturbed run writes."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import netjac as nj
from tests.scale.networks import SAMPLES, network, samples

ROOT = Path(__file__).parents[2]
KILLS = 20
WORK = """
import sys
import netjac as nj
from tests.scale.networks import network, samples
model, x = network(), samples()
nj.jacobian(model, x[:1]).to_numpy()
print("ready", flush=True)
sys.stdin.readline()
nj.stream(model, x, sys.argv[1], chunk=1, progress=lambda done, total: sys.stdin.readline())
"""


def waiting(place):
    """A process that has imported everything and begins when it is told to."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORK, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True
    )
    assert process.stdout.readline() == "ready\n"
    return process


def whole(place):
    """The chunks that count, and when each of their files was written."""
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in place.glob("done/c/*/0")}


def killed(process, place, draw):
    """At a random moment: while the store is opened, or some chunks later, at any point of the next.

    The process writes a chunk for every line that it is sent, and so never comes to its end, however late the signal is.
    """
    known = len(whole(place))
    wanted = known + draw.randint(1, 8)
    process.stdin.write("\n" * (wanted + 2))
    process.stdin.flush()
    if draw.random() < 0.3:
        time.sleep(draw.uniform(0, 0.2))
    else:
        while len(whole(place)) < wanted and process.poll() is None:
            time.sleep(0.0005)
        time.sleep(draw.uniform(0, 0.005))
    ended = process.poll()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return ended is None


def test_killed_twenty_times_nothing_is_lost_and_nothing_comes_twice(tmp_path):
    place, draw = tmp_path / "rows", random.Random(0)
    kept = {}
    for _ in range(KILLS):
        assert killed(waiting(place), place, draw), "it was to be killed at work"
        now = whole(place)
        assert kept.items() <= now.items(), "a chunk that was whole is never written again"
        kept = now
    assert 20 < len(kept) < SAMPLES
    rows = nj.stream(network(), samples(), place, chunk=1)
    assert kept.items() <= whole(place).items()
    assert (rows[:] == nj.stream(network(), samples(), tmp_path / "other", chunk=1)[:]).all()
    assert not list(tmp_path.rglob("*.partial"))
