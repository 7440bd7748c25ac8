"""The bench's own logic: its options, its figures, what it keeps. Nothing here measures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import bench, paths
from benchmarks.figures import Figures, figures, percentile, ratios, table, write
from benchmarks.host import cpu_seconds, descendants, resident
from benchmarks.judge_cpu import Signer
from benchmarks.mails import EICAR_TEXT, batch, made_up, stuffed, with_attachments, with_malware
from benchmarks.peers import Peers
from mailguard.message.parse import parse

FAST, SLOW = Figures(400.0, 20.0, 60.0, 3.0), Figures(100.0, 80.0, 160.0, 12.0)


def test_paths_are_chosen_by_name() -> None:
    assert bench.arguments([]).paths == bench.DEFAULT
    assert bench.arguments(["--paths", "spool,cut-through,spool"]).paths == ("spool", "cut-through")
    assert bench.arguments(["--paths", "all"]).paths == tuple(paths.PATHS)


@pytest.mark.parametrize("given", [["--paths", "sideways"], ["--paths", ","], ["--count", "0"], ["--rounds", "many"]])
def test_a_wrong_option_ends_it_with_the_reason(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.arguments(given)
    assert given[0] in capsys.readouterr().err


def test_every_path_says_what_it_measures() -> None:
    assert all(function.__doc__ for function in paths.PATHS.values())


def test_ratios_are_of_the_first_to_the_second() -> None:
    assert ratios(FAST, SLOW) == {"rate": 4.0, "cpu": 0.25}


def test_figures_are_per_mail() -> None:
    assert figures(10, 2.0, [0.001, 0.002, 0.009], 0.05) == Figures(5.0, 2.0, 9.0, 5.0)
    with pytest.raises(ValueError, match="no mail"):
        figures(0, 2.0, [], 0.0)


@pytest.mark.parametrize(("share", "value"), [(50, 50), (99, 99), (100, 100), (0.5, 1)])
def test_percentiles_are_by_nearest_rank(share: float, value: int) -> None:
    assert percentile(range(1, 101), share) == value


def test_the_table_compares_with_those_that_were_measured() -> None:
    shown = table("cut-through", {"ours": FAST, "theirs": SLOW}, against=["theirs", "absent"])
    head, _, ours, theirs = shown.splitlines()
    assert head.endswith("| rate × theirs |")
    assert "absent" not in head
    assert ours == "| ours | 400 | 20.0 | 60.0 | 3.00 | 4.00 |"
    assert theirs.endswith("| 1.00 |")


def test_a_run_is_kept_with_its_machine_and_options(tmp_path: Path) -> None:
    path = write(tmp_path / "results", {"cut-through": {"ours": FAST}}, options={"count": 7})
    kept = json.loads(path.read_text())
    assert kept["results"]["cut-through"]["ours"] == {"rate": 400.0, "p50": 20.0, "p99": 60.0, "cpu": 3.0}
    assert kept["options"] == {"count": 7}
    assert kept["machine"]["processors"] >= 1
    assert path.name.endswith("Z.json")


def test_without_peers_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.available(None) is None
    assert bench.available(tmp_path) is None
    said = capsys.readouterr().out
    assert said.count("MailGuard is measured alone") == 2
    assert "peers.sh is not there" in said


def test_peers_that_do_not_run_have_no_processes(tmp_path: Path) -> None:
    (tmp_path / "clam").mkdir()
    (tmp_path / "clam" / "clamd.pid").write_text("not a number")
    peers = Peers(tmp_path, tmp_path)
    assert peers.pids() == []
    assert not peers.running


def test_a_processs_own_use_is_seen() -> None:
    import os

    assert os.getpid() in descendants([os.getpid()])
    assert cpu_seconds([os.getpid()]) > 0
    assert resident(os.getpid()) > 1_000_000


def test_mails_are_new_signed_and_ready_for_data() -> None:
    signer = Signer()
    first, second = batch([made_up(2_000, 1)], 2, "word", signer)
    assert first.startswith(b"DKIM-Signature:")
    assert first.endswith(b"\r\n.\r\n")
    assert b"Subject: word-0 " in first
    assert b"Subject: word-1 " in second
    assert b"\n" not in first.replace(b"\r\n", b"")


def test_dots_are_stuffed() -> None:
    assert stuffed(b".a\r\n..b\r\n") == b"..a\r\n...b\r\n.\r\n"


def test_made_up_mails_are_what_they_say() -> None:
    assert 900_000 < len(with_attachments(1_000_000, 1)) < 1_100_000
    message = parse(with_attachments(100_000, 1).replace(b"\n", b"\r\n"))
    assert [one.filename for one in message.attachments] == ["plan.dat", "table.csv"]
    assert EICAR_TEXT in with_malware(1)
    assert made_up(500, 3) == made_up(500, 3) != made_up(500, 4)
