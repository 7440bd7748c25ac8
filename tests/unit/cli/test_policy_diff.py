"""`mailguard policy diff`: recorded mail under a draft, with what makes the difference and what cannot be known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from mailguard.core.clock import DAY
from mailguard.core.decision import Action, Reason
from mailguard.core.envelope import Envelope, MailOptions, Recipient, Session
from mailguard.core.events import State
from mailguard.core.ids import new_message_id, unit_id
from mailguard.core.tenant import Tenant
from mailguard.core.verdict import CheckResult, Findings, Symbol
from mailguard.pipeline.units import FIRST_STATE
from mailguard.policy.decide import decide
from mailguard.policy.profile import Policy
from mailguard.policy.score import score
from mailguard.store.ledger import NewMessage, NewUnit, begin_in
from tests.ledger_of import World
from tests.unit.cli.conftest import Run


def put(
    world: World,
    points: float,
    *,
    age: int = 0,
    recipients: Sequence[str] = ("joe@acme.test",),
    policy: Policy | None = None,
) -> list[str]:
    """A mail with these points, decided by a policy and recorded."""
    at = world.db.read_sync(world.db.now) - age
    findings = Findings((CheckResult("rules", symbols=(Symbol("SPAMMY", points),)),), from_address="eve@evil.test")
    session = Session("s1", "192.0.2.1", helo="mail.evil.test", esmtp=True)
    message = NewMessage(
        new_message_id(at), at, session, "eve@evil.test", MailOptions(), 9, "0" * 64, findings=findings, blob=True
    )
    units = []
    for number, address in enumerate(recipients, 1):
        recipient = Recipient(address, world.tenant, "acme.test", number=number)
        envelope = Envelope(message.id, message.mail_from, recipients=(recipient,))
        its = policy or Policy()
        tenant = Tenant(world.tenant, "acme")
        verdict = score(findings, tenant=tenant, policy=its, envelope=envelope, session=session, now_ms=at)
        decision = decide(verdict, its, recipient)
        state = FIRST_STATE[decision.action]
        holder = "w1" if state is State.FORWARDING else ""
        units.append(
            NewUnit(number, recipient, state, decision.reason, decision, verdict.score, verdict.symbols, holder=holder)
        )
    world.db.write_sync(lambda conn: begin_in(conn, message, units))
    return [unit_id(message.id, unit.number) for unit in units]


@pytest.fixture
def draft(tmp_path: Path) -> Path:
    path = tmp_path / "DRAFT.yaml"
    path.write_text(
        "extends: default\nthresholds:\n  - {score: 3, action: quarantine}\n  - {score: 9, action: reject}\n"
    )
    return path


def test_what_a_draft_would_have_done(mailguard: Run, world: World, draft: Path) -> None:
    (passed,), (kept,) = put(world, 4.0), put(world, 9.5)
    put(world, 1.0)
    put(world, 4.0, age=8 * DAY)
    done = mailguard("policy", "diff", "--tenant", "acme", str(draft), "--json")
    assert done.code == 0, done.err
    found = done.json
    assert (found["sentence"], found["replayed"], found["changed"]) == ("would quarantine 1 more, reject 1 more", 3, 2)
    assert [(mail["id"], mail["from"], mail["to"]) for mail in found["mails"]] == [
        (passed, "deliver", "quarantine"),
        (kept, "quarantine", "reject"),
    ]
    assert found["mails"][0]["causes"] == ["thresholds: nothing → quarantine (score 4 ≥ quarantine at 3)"]
    assert found["decided_by"] == [{"profile": "default", "hash": Policy().hash, "in_force": True, "mails": 3}]
    out = mailguard("policy", "diff", "--tenant", "acme", "--since", "30d", str(draft), "--limit", "1").out
    assert "DRAFT.yaml against the mail of acme since" in out
    assert "would quarantine 2 more, reject 1 more" in out
    assert "and 2 more; raise --limit" in out
    assert "check clamav did not report on 4 of 4 messages" in out


def test_all_pages_are_read_and_a_message_counts_with_all_its_recipients(
    mailguard: Run, world: World, draft: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailguard.store.recorded.page.__kwdefaults__", {"after": "", "limit": 2})
    for _ in range(5):
        put(world, 4.0, recipients=["joe@acme.test", "postmaster@acme.test"])
    found = mailguard("policy", "diff", "--tenant", "acme", str(draft), "--json").json
    assert found["replayed"] == 10
    assert found["transitions"] == [
        {"from": "deliver", "to": "quarantine", "mails": 5},
        {"from": "deliver", "to": "tag", "mails": 5},
    ]


def test_what_was_decided_by_another_profile_or_list_is_said(mailguard: Run, world: World, draft: Path) -> None:
    put(world, 4.0, policy=Policy(name="old", malware=Action.REJECT))
    assert mailguard("tenant", "deny", "add", "acme", "evil.test").code == 0
    found = mailguard("policy", "diff", "--tenant", "acme", str(draft), "--json").json
    assert (found["changed"], found["changed_anyway"]) == (1, 1)
    assert any("decided by profile old as it was then" in note for note in found["notes"])
    out = mailguard("policy", "diff", "--tenant", "acme", str(draft)).out
    assert "not the draft: the lists or the profile have changed since" in out


def test_a_symbol_that_no_mail_had_is_said(mailguard: Run, world: World, tmp_path: Path) -> None:
    put(world, 4.0)
    draft = tmp_path / "default.yaml"
    draft.write_text("symbols: {BRAND_NEW: {score: 9}, SPAMMY: {score: 9}}\n")
    found = mailguard("policy", "diff", "--tenant", "acme", str(draft), "--json").json
    assert found["mails"][0]["causes"][:2] == ["symbols.SPAMMY.score: 4 → 9", "score 4 → 9"]
    assert [note for note in found["notes"] if "BRAND_NEW" in note]
    assert not [note for note in found["notes"] if "symbol SPAMMY" in note]


def test_no_mail_and_no_difference(mailguard: Run, world: World, tmp_path: Path) -> None:
    draft = tmp_path / "same.yaml"
    draft.write_text("extends: default\n")
    assert "would change nothing" in mailguard("policy", "diff", "--tenant", "acme", str(draft)).out
    put(world, 4.0)
    assert mailguard("policy", "diff", "--tenant", "acme", str(draft), "--json").json["changed"] == 0


def test_a_draft_with_errors_is_told_each_at_its_line(mailguard: Run, world: World, tmp_path: Path) -> None:
    draft = tmp_path / "bad.yaml"
    draft.write_text(
        "extends: defualt\nmalware: tickle\nthresholds:\n  - {score: x, action: quarantine}\nnonsense: 1\n"
    )
    done = mailguard("policy", "diff", "--tenant", "acme", str(draft))
    assert done.code == 2
    for line, what in ((2, "malware"), (4, "thresholds"), (5, "nonsense")):
        assert f"{draft}:{line} {what}" in done.err
    draft.write_text("extends: defualt\n")
    done = mailguard("policy", "diff", "--tenant", "acme", str(draft))
    assert (done.code, "there is no profile 'defualt'" in done.err) == (2, True)
    assert mailguard("policy", "diff", "--tenant", "acme", str(tmp_path / "none.yaml")).code == 2
    draft.write_text("extends: default\n")
    assert mailguard("policy", "diff", "--tenant", "nobody", str(draft)).code == 1
    assert mailguard("policy", "diff", "--tenant", "acme", "--since", "soon", str(draft)).code == 2


def test_a_draft_that_builds_on_a_broken_profile_says_what_is_broken(
    mailguard: Run, world: World, tmp_path: Path, config: Path
) -> None:
    (config.parent / "policies" / "strict.yaml").write_text("malware: tickle\n")
    draft = tmp_path / "mine.yaml"
    draft.write_text("extends: strict\n")
    done = mailguard("policy", "diff", "--tenant", "acme", str(draft))
    assert (done.code, "strict.yaml:1 malware" in done.err) == (2, True)


def test_reason_of_the_recorded_decision_is_the_first(mailguard: Run, world: World, draft: Path) -> None:
    """What moved the mail later says nothing of how it was judged."""
    (unit,) = put(world, 9.5)
    world.move(unit, State.SPOOLED, State.RELEASED, reason=Reason.RELEASED_BY_ADMIN)
    found = mailguard("policy", "diff", "--tenant", "acme", str(draft), "--json").json
    assert [(mail["id"], mail["from"]) for mail in found["mails"]] == [(unit, "quarantine")]
