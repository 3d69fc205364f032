"""The driver: turns, order, equal outputs, and what becomes of a contender that does not behave."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from app.benchmark.contender import Contender, ContenderError, Turn
from app.benchmark.race import MAX_REL_ERR, Record, race, relative_error
from app.benchmark.results import make_row

STUB = Path(__file__).parent / "stub.py"
TURN = Turn(warm_up_ns=0, burst_ns=0, least_runs=3, most_runs=9)
X = np.linspace(-1, 1, 24, dtype=np.float32)
Y = (2 * X,)


def stub(folder, name, behaviour):
    """A maker of a contender, as `race` wants them."""
    inputs, outputs = folder / "in.bin", folder / f"{name}.bin"
    X.tofile(inputs)
    cpu = min(os.sched_getaffinity(0))
    return lambda: Contender(name, [sys.executable, str(STUB), str(inputs), str(outputs), behaviour], [cpu], outputs)


@pytest.fixture
def raced(tmp_path):
    """Runs contenders of the behaviours given; returns their records."""

    def run(*behaviours, rounds=3, **extra):
        return race({b: stub(tmp_path, b, b) for b in behaviours}, Y, rounds, TURN, **extra)

    return run


def row(record, ours):
    return make_row(
        "net", "peer", "1", record, ours, threads=1, macs=1500, fma_gflops=100.0, planned_bytes=None
    )  # fmt: skip


def test_wrong_output_is_never_a_number_without_remark(raced):
    records = raced("right", "wrong", "nan")
    for name in ("wrong", "nan"):
        found = row(records[name], records["right"])
        assert "differs from onnxruntime" in found.error
        assert found.median_ns is None
        assert found.ratio is None
        assert found.max_rel_err > MAX_REL_ERR
        assert not records[name].bursts
    assert records["right"].error == ""
    assert row(records["nan"], records["right"]).to_json()["max_rel_err"] == 1e300


def test_an_output_that_goes_wrong_later_is_noticed(raced):
    records = raced("right", "drifts")
    assert "differs from onnxruntime" in records["drifts"].error
    assert len(records["right"].bursts) == 3
    assert row(records["drifts"], records["right"]).median_ns is None


def test_a_crash_is_reported_with_status_and_last_words_and_the_others_go_on(raced):
    records = raced("dies", "right")
    assert "status 7" in records["dies"].error
    assert "out of luck" in records["dies"].error
    assert len(records["right"].bursts) == 3


def test_a_contender_that_ends_between_two_turns_is_noticed(raced):
    records = raced("leaves", "right")
    assert "status 0" in records["leaves"].error
    assert len(records["leaves"].bursts) == 1
    assert row(records["leaves"], records["right"]).median_ns is None


def test_an_answer_with_unknown_fields_is_refused(raced):
    assert "nonsense" in raced("nonsense", "right")["nonsense"].error


def test_a_program_that_is_not_there_is_a_reason(tmp_path):
    makers = {
        "gone": lambda: Contender("gone", [str(tmp_path / "gone")], [min(os.sched_getaffinity(0))], tmp_path / "o"),
        "right": stub(tmp_path, "right", "right"),
    }
    records = race(makers, Y, 2, TURN)
    assert "does not start" in records["gone"].error
    assert len(records["right"].bursts) == 2


def test_a_contender_that_hangs_is_given_up(tmp_path):
    with stub(tmp_path, "mute", "mute")() as contender:
        contender.load()
        with pytest.raises(ContenderError, match="no answer within"):
            contender.run(TURN, timeout_s=0.2)


def test_a_contender_is_stopped_while_it_is_not_its_turn(tmp_path):
    with stub(tmp_path, "right", "right")() as contender:
        contender.load()
        state = Path(f"/proc/{contender.process_id}/stat").read_text().rpartition(")")[2].split()[0]
        assert state == "T"
        assert len(contender.run(TURN).samples_ns) == 3


def test_contenders_die_with_the_driver(tmp_path):
    """Stopped processes of their own group are woken by the kernel when their parent is gone, and find no input."""
    text = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.bench.test_race import stub
contender = stub(Path(sys.argv[2]), "right", "right")()
contender.load()
print(contender.process_id, flush=True)
time.sleep(60)
"""
    root = str(Path(__file__).parents[2])
    driver = subprocess.Popen([sys.executable, "-c", text, root, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    process_id = int(driver.stdout.readline())
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    driver.stdout.close()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{process_id}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{process_id}").exists()


def test_the_order_moves_on_by_one_each_round(tmp_path):
    order = []

    def noted(name):
        make = stub(tmp_path, name, "right")

        def started():
            contender = make()
            run = contender.run
            contender.run = lambda turn: (order.append(name), run(turn))[1]
            return contender

        return started

    race({name: noted(name) for name in "abc"}, Y, 4, TURN)
    assert "".join(order) == "abcbcacababc"


def test_progress_is_told_after_every_step_and_may_stop_everything(raced):
    seen = []
    raced("right", rounds=2, on_progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]

    def stop(_done, _total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        raced("right", on_progress=stop)


def test_figures_follow_from_the_samples(raced):
    records = raced("right", "drifts")
    records["drifts"].error = ""
    records["drifts"].bursts = records["right"].bursts
    found = row(records["right"], records["right"])
    # Turn k of the stub takes 3000 + k, + 1, + 2 ns.
    assert found.round_medians_ns == (3002.0, 3003.0, 3004.0)
    assert (found.median_ns, found.min_round_ns, found.max_round_ns) == (3003.0, 3002.0, 3004.0)
    assert (found.ratio, found.ratio_min, found.ratio_max) == (1.0, 1.0, 1.0)
    assert found.runs == 9
    assert found.p10_ns == pytest.approx(3001.8)
    assert found.gflops == pytest.approx(2 * 1500 / 3003)
    assert found.fma_peak_share == pytest.approx(2 * 1500 / 3003 / 100)
    assert (found.resident_bytes, found.load_peak_bytes, found.run_peak_bytes) == (500, 800, 700)
    assert (found.peak_bytes, found.planned_bytes) == (1800, 300)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_relative_error_is_of_the_largest_value_of_each_output(bad):
    wanted = (np.array([4.0, -1.0], np.float32), np.array([0.0], np.float32))
    assert relative_error((np.array([4.0, -1.5], np.float32), wanted[1]), wanted) == 0.125
    assert relative_error((wanted[0], np.array([0.25], np.float32)), wanted) == 0.25
    assert relative_error((np.array([bad, -1.0], np.float32), wanted[1]), wanted) == np.inf
    assert Record().max_rel_err is None
