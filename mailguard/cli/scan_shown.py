"""How a scanned message is shown: for people, with or without an explanation of each symbol, as JSON, as TSV."""

from __future__ import annotations

import os

from mailguard.cli.explanation import explain_symbols, margins, page_of
from mailguard.cli.files_shown import print_files
from mailguard.cli.mail import auth_text, findings_json
from mailguard.cli.scan_work import Report, Scanned
from mailguard.cli.terminal import Cell, print_facts, print_json_line, print_line, print_table, safe, say


def print_tsv(scanned: Scanned) -> None:
    """The path, a tab, and the score."""
    assert scanned.report is not None
    path = scanned.path.translate({ord("\t"): "\\t", ord("\n"): "\\n", ord("\r"): "\\r"})
    print_line(os.fsencode(path) + f"\t{scanned.report.verdict.score:.2f}".encode())


def print_as_json(scanned: Scanned) -> None:
    """All of it, on one line."""
    print_json_line(report_json(scanned))


def report_json(scanned: Scanned) -> dict[str, object]:
    """A report for `--json`."""
    report = scanned.report
    assert report is not None
    verdict, decision = report.verdict, report.decision
    return {
        "path": scanned.path,
        "seconds": round(scanned.seconds, 4),
        "score": round(verdict.score, 4),
        "action": decision.action,
        "reason": decision.reason,
        "explanation": decision.explanation,
        "policy": decision.policy,
        "policy_hash": decision.policy_hash,
        "thresholds": {threshold.action: threshold.score for threshold in report.policy.thresholds},
        "reply": str(decision.reply),
        "symbols": [
            {
                "name": symbol.name,
                "points": symbol.points,
                "description": symbol.description,
                "evidence": list(symbol.evidence),
                "check": symbol.check,
                "page": page_of(symbol.check, symbol.name),
            }
            for symbol in verdict.symbols
        ],
        "malware": list(verdict.malware),
        "failed_checks": list(verdict.failed_checks),
        "list_match": verdict.list_match,
        "findings": findings_json(report.findings),
    }


def print_report(scanned: Scanned) -> None:
    """For people, a line for each symbol."""
    report = _print_head(scanned)
    verdict = report.verdict
    print_table(
        ("POINTS", "SYMBOL", "WHAT", "IN"),
        [
            *(
                (f"{symbol.points:+.1f}", symbol.name, symbol.description, safe(", ".join(symbol.evidence), limit=80))
                for symbol in sorted(verdict.symbols, key=lambda symbol: -abs(symbol.points))
            ),
            (Cell(f"{verdict.score:.1f}", "bold"), Cell("score", "bold"), "", ""),
        ],
        right=("POINTS",),
    )
    say()


def print_explanation(scanned: Scanned) -> None:
    """For people, with all that each symbol was seen in, and where it is explained."""
    report = _print_head(scanned, whole=True)
    explain_symbols(report.verdict.symbols)
    say()


def _print_head(scanned: Scanned, *, whole: bool = False) -> Report:
    report = scanned.report
    assert report is not None
    verdict, decision, findings = report.verdict, report.decision, report.findings
    say(safe(scanned.path), style="bold")
    print_facts(
        {
            "  decision": f"{decision.action} ({decision.reason}): {decision.explanation}",
            "  reply": str(decision.reply),
            "  policy": f"{decision.policy} {decision.policy_hash[:12]}",
            "  score": margins(verdict.score, report.policy.thresholds),
            "  malware": ", ".join(verdict.malware),
            "  lists": f"{verdict.list_match} {verdict.list_entry}" if verdict.list_entry else "",
            "  failed checks": ", ".join(verdict.failed_checks),
            "  not allowed": ", ".join(verdict.forbidden_attachments),
            "  checks": ", ".join(result.check for result in findings.results),
        }
    )
    for result in findings.auth:
        say(f"  auth       {auth_text(result)}" + (f" ({result.reason})" if result.reason else ""))
    print_files(findings.attachments, whole=whole)
    return report
