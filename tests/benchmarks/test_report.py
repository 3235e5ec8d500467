"""The benchmark of reports: what it says, what it holds a report to, and that a report is made at all."""

import pytest

from benchmarks.report import Cost, cost, main, told


def test_a_report_that_takes_too_long_or_too_much_is_named():
    short = Cost("dense", 9.0, 12.5, {"overview": 0.01, "check": 1.5}, 90_000, 900 * 2**20)
    long = Cost("mobilenet", 61.0, 80.0, {"overview": 0.02}, 1_100_000, 3 * 2**30)
    wide = Cost("digits", 9.0, 12.5, {}, 5_100_000, 2**30)
    assert [one.kept for one in (short, long, wide)] == [True, False, False]
    lines = told([short, long]).splitlines()
    assert "| dense | 9.0 s | 12.5 s | 0.09 MB | 900 MiB | yes |" in lines
    assert "| mobilenet | 61.0 s | 80.0 s | 1.10 MB | 3072 MiB | **no** |" in lines
    assert "| check | 1.50 s | – |" in lines


def test_a_network_that_is_not_known_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["mobilnet"])
    assert "there is no network 'mobilnet'" in capsys.readouterr().err


def test_what_a_small_networks_report_takes_is_measured(tmp_path):
    found = cost("dense", tmp_path)
    assert {"overview", "explorer", "robustness", "check"} <= found.sections.keys()
    assert sum(found.sections.values()) < found.processor
    assert found.size == (tmp_path / "page.html").stat().st_size > 50_000
    assert found.memory > 2**27
