"""`kill -9` at random moments, over and over: what is written in the end is what an undisturbed run writes."""

import multiprocessing
import random
import time

import netjac as nj
from tests.scale.networks import SAMPLES, network, samples

KILLS = 20


def work(place, told):
    """What each process does: it imports nothing, says that it is ready, and begins when it is told to."""
    model, x = network(), samples()
    nj.jacobian(model, x[:1]).to_numpy()
    told.send("ready")
    told.recv()
    nj.stream(model, x, place, chunk=1, progress=lambda done, total: told.recv())


def waiting(server, place):
    """A process that has imported everything, forked from one that did nothing else, and the pipe that tells it to go on."""
    tell, told = server.Pipe()
    process = server.Process(target=work, args=(place, told))
    process.start()
    told.close()
    assert tell.recv() == "ready"
    return process, tell


def whole(place):
    """The chunks that count, and when each of their files was written."""
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in place.glob("done/c/*/0")}


def killed(process, tell, place, draw):
    """At a random moment: while the store is opened, or some chunks later, at any point of the next.

    The process writes a chunk for every word that it is sent, and so never comes to its end, however late the signal is.
    """
    known = len(whole(place))
    wanted = known + draw.randint(1, 8)
    for _ in range(wanted + 2):
        tell.send("on")
    if draw.random() < 0.3:
        time.sleep(draw.uniform(0, 0.2))
    else:
        while len(whole(place)) < wanted and process.is_alive():
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.005))
    at_work = process.is_alive()
    process.kill()
    process.join()
    tell.close()
    return at_work


def test_killed_twenty_times_nothing_is_lost_and_nothing_comes_twice(tmp_path):
    place, draw = tmp_path / "rows", random.Random(0)
    kept = {}
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload([__name__])
    for _ in range(KILLS):
        assert killed(*waiting(server, place), place, draw), "it was to be killed at work"
        now = whole(place)
        assert kept.items() <= now.items(), "a chunk that was whole is never written again"
        kept = now
    assert 20 < len(kept) < SAMPLES
    rows = nj.stream(network(), samples(), place, chunk=1)
    assert kept.items() <= whole(place).items()
    assert (rows[:] == nj.stream(network(), samples(), tmp_path / "other", chunk=1)[:]).all()
    assert not list(tmp_path.rglob("*.partial"))
