"""Mail to feedback addresses: whose copies count, and what comes of all others."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry

from mailguard.checks.runner import Runner
from mailguard.core.clock import DAY
from mailguard.core.envelope import Envelope, NextHop, Recipient, Session
from mailguard.core.errors import UnavailableError
from mailguard.core.events import State
from mailguard.core.feedback import FeedbackAddress
from mailguard.core.ids import new_message_id
from mailguard.core.verdict import AuthMethod, AuthOutcome, AuthResult, CheckResult
from mailguard.learning.scale import Scale
from mailguard.message.parse import parse
from mailguard.net.dns import StaticResolver
from mailguard.ops.log import MailLog
from mailguard.ops.metrics import Metrics
from mailguard.pipeline.feedback import MOST_COPIES, Feedback
from mailguard.pipeline.judge import Judge
from mailguard.policy.files import PolicyFiles
from mailguard.store import tenants
from mailguard.store.directory import load_directory
from mailguard.store.feedback_addresses import set_feedback_addresses
from mailguard.store.lessons import LessonQuery, Source, StoredLesson, find_lessons
from tests.ledger_of import Clock, World

SPF = AuthResult(AuthMethod.SPF, AuthOutcome.PASS, "acme.test")
DKIM = AuthResult(AuthMethod.DKIM, AuthOutcome.PASS, "mail.acme.test")
NEWS = b"From: Eve <eve@evil.test>\r\nTo: joe@acme.test\r\nSubject: Hello\r\nMessage-ID: <1@evil.test>\r\n\r\nHello Joe\r\n"


class Seen:
    """A check that reports what a test wants."""

    name = "spf"
    needs = ()

    def __init__(self) -> None:
        self.result = CheckResult("spf", auth=(SPF,))

    async def run(self, context: object, results: object) -> CheckResult:
        return self.result


class Desk:
    """A tenant with feedback addresses, and what takes the mail to them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.seen = Seen()
        world.db.write_sync(
            lambda conn: set_feedback_addresses(conn, tenant="acme", spam="Spam@acme.test", ham="ham@acme.test")
        )
        self.directory = world.db.read_sync(load_directory)
        self.metrics = Metrics(CollectorRegistry())
        resolver = StaticResolver({})
        judge = Judge(
            runner=Runner([self.seen]),
            policies=PolicyFiles.__new__(PolicyFiles),
            directory=lambda: self.directory,
            resolver=resolver,
            hostname="mx.relay.test",
            authserv_id="mx.relay.test",
            clock=lambda: 0,
        )
        self.feedback = Feedback(
            judge=judge,
            db=world.db,
            directory=lambda: self.directory,
            scale=Scale(),
            spam_address="spam@provider.test",
            ham_address="ham@provider.test",
            log=MailLog(),
            metrics=self.metrics,
        )

    def delivered(self, recipient: str = "joe@acme.test", **fields: object) -> str:
        (unit,) = self.world.mail(State.FORWARDING, raw=NEWS, recipients=[recipient], **fields)  # type: ignore[arg-type]
        self.world.move(unit, State.DELIVERED)
        return unit

    async def send(
        self,
        *copies: bytes,
        sender: str = "joe@acme.test",
        author: str = "",
        to: str = "spam@acme.test",
        more: str = "",
    ) -> str:
        head = f"From: {author or sender}\r\nTo: {to}\r\nSubject: Fwd\r\n{more}Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        parts = b"".join(b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + copy + b"\r\n" for copy in copies)
        raw = head.encode() + b"--b\r\n\r\nlook\r\n" + parts + b"--b--\r\n"
        meant = self.feedback.meant_by(to)
        assert meant is not None
        message = new_message_id()
        envelope = Envelope(message, sender, recipients=(Recipient(to, 1, "x"),))
        reply = await self.feedback.take(Session("s", "192.0.2.9"), envelope, parse(raw), meant)
        assert (reply.code, reply.text.partition(": ")[0]) == (250, f"Report {message}")
        return reply.text.partition(": ")[2]

    def lessons(self) -> list[StoredLesson]:
        return self.world.db.read_sync(lambda conn: find_lessons(conn, LessonQuery(in_force=True)))

    def counted(self, label: str, result: str) -> float:
        return self.metrics.feedback.labels(label, result)._value.get()  # type: ignore[no-any-return]


def copy_of(unit: str, content: bytes = NEWS) -> bytes:
    return b"Return-Path: <eve@evil.test>\r\nX-MailGuard-Id: " + unit[:26].encode() + b"\r\n" + content


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> object:
    from mailguard.core.verdict import Findings
    from tests import ledger_of

    auth = (AuthResult(AuthMethod.SPF, AuthOutcome.PASS, "evil.test"),)
    monkeypatch.setattr(ledger_of, "findings", lambda malware=(): Findings((CheckResult("spf", auth=auth),)))
    world = World(tmp_path, clock=Clock())  # type: ignore[arg-type]
    yield Desk(world)
    world.close()


def test_addresses_mean_something_to_their_tenant_or_to_all(desk: Desk) -> None:
    tenant = desk.world.tenant
    assert desk.feedback.meant_by("SPAM@acme.test") == FeedbackAddress(True, tenant)
    assert desk.feedback.meant_by("ham@acme.test") == FeedbackAddress(False, tenant)
    assert desk.feedback.meant_by("ham@provider.test") == FeedbackAddress(False)
    for other in ("joe@acme.test", "spam@other.test", "", "postmaster"):
        assert desk.feedback.meant_by(other) is None


@pytest.mark.parametrize("to", ["spam@acme.test", "spam@provider.test"])
@pytest.mark.parametrize("auth", [SPF, DKIM])
async def test_a_recipient_teaches_by_a_copy_of_what_he_got(desk: Desk, to: str, auth: AuthResult) -> None:
    desk.seen.result = CheckResult("spf", auth=(auth,))
    unit = desk.delivered()
    assert await desk.send(copy_of(unit), to=to) == "learned 1"
    (lesson,) = desk.lessons()
    assert (lesson.unit, lesson.spam, lesson.source, lesson.teacher) == (unit, True, Source.USER, "joe@acme.test")
    assert desk.counted("spam", "learned") == 1
    assert await desk.send(copy_of(unit), to=to) == "known 1"


async def test_ham_moves_by_less_than_an_admin_would(desk: Desk) -> None:
    assert await desk.send(copy_of(desk.delivered()), to="ham@acme.test") == "learned 1"
    (lesson,) = desk.lessons()
    assert (lesson.step, lesson.score_before, lesson.score_after) == (2.0, 8.2, 6.2)


async def test_several_copies_are_taken_each_by_itself(desk: Desk) -> None:
    mine, others = desk.delivered(), desk.delivered("ann@acme.test")
    said = await desk.send(copy_of(mine), copy_of(others), NEWS, copy_of(new_message_id() + "-1"))
    assert said == "learned 1, not_delivered 2, not_ours 1"


async def test_only_so_many_are_looked_at(desk: Desk) -> None:
    said = await desk.send(*[NEWS] * (MOST_COPIES + 2))
    assert said == f"not_ours {MOST_COPIES}, too_many 2"


@pytest.mark.parametrize(
    "auth",
    [
        (),
        (AuthResult(AuthMethod.SPF, AuthOutcome.FAIL, "acme.test"),),
        (AuthResult(AuthMethod.SPF, AuthOutcome.PASS, "evil.test"),),
        (AuthResult(AuthMethod.DKIM, AuthOutcome.PASS, "evil.test"),),
        (AuthResult(AuthMethod.ARC, AuthOutcome.PASS, "acme.test"),),
    ],
)
async def test_who_is_not_proven_teaches_nothing(desk: Desk, auth: tuple[AuthResult, ...]) -> None:
    desk.seen.result = CheckResult("spf", auth=auth)
    assert await desk.send(copy_of(desk.delivered())) == "unauthenticated 1"
    assert desk.lessons() == []


async def test_what_cannot_be_proven_now_is_to_come_again(desk: Desk) -> None:
    desk.seen.result = CheckResult("spf", auth=(AuthResult(AuthMethod.SPF, AuthOutcome.TEMPERROR, "acme.test"),))
    with pytest.raises(UnavailableError):
        await desk.send(copy_of(desk.delivered()))


async def test_the_author_is_the_sender(desk: Desk) -> None:
    assert await desk.send(copy_of(desk.delivered()), author="ann@acme.test") == "unauthenticated 1"


async def test_strangers_and_other_tenants_teach_nothing(desk: Desk) -> None:
    unit = desk.delivered()
    desk.world.db.write_sync(
        lambda conn: tenants.add_tenant(
            conn, name="other", now=1, domains=["other.test"], next_hops=[NextHop("mx.other.test")]
        )
    )
    desk.directory = desk.world.db.read_sync(load_directory)
    other = CheckResult("spf", auth=(AuthResult(AuthMethod.SPF, AuthOutcome.PASS, "other.test"),))
    assert await desk.send(copy_of(unit), sender="eve@evil.test") == "foreign 1"
    desk.seen.result = other
    assert await desk.send(copy_of(unit), sender="joe@other.test") == "foreign 1"
    assert await desk.send(copy_of(unit), sender="joe@other.test", to="spam@provider.test") == "not_delivered 1"


@pytest.mark.parametrize(
    "more", ["Auto-Submitted: auto-replied\r\n", "Precedence: bulk\r\n", "List-Id: <l.acme.test>\r\n"]
)
async def test_automatic_mail_teaches_nothing(desk: Desk, more: str) -> None:
    assert await desk.send(copy_of(desk.delivered()), more=more) == "automatic 1"


async def test_bounces_teach_nothing(desk: Desk) -> None:
    assert await desk.send(copy_of(desk.delivered()), sender="", author="mailer@acme.test") == "automatic 1"


async def test_without_a_copy_there_is_nothing_to_learn(desk: Desk) -> None:
    assert await desk.send() == "no_copy 1"


async def test_a_copy_of_another_mail_under_a_known_id_is_not_believed(desk: Desk) -> None:
    forged = NEWS.replace(b"<1@evil.test>", b"<2@evil.test>")
    assert await desk.send(copy_of(desk.delivered(), forged)) == "other_mail 1"


async def test_what_is_still_kept_or_long_gone_is_no_delivered_mail(desk: Desk) -> None:
    (kept,) = desk.world.mail(raw=NEWS)
    assert await desk.send(copy_of(kept)) == "not_delivered 1"
    unit = desk.delivered()
    assert desk.world.clock is not None
    desk.world.clock.now += 91 * DAY
    assert await desk.send(copy_of(unit)) == "not_delivered 1"


async def test_an_address_with_what_senders_add_is_the_same_user(desk: Desk) -> None:
    assert await desk.send(copy_of(desk.delivered("Joe+news@acme.test"))) == "learned 1"


async def test_probes_and_malware_teach_nothing(desk: Desk) -> None:
    assert await desk.send(copy_of(desk.delivered(probe=True))) == "probe 1"
    desk.seen.result = CheckResult("spf", auth=(SPF,), malware=("Eicar",))
    assert await desk.send(copy_of(desk.delivered())) == "malware 1"


async def test_an_admin_overrules(desk: Desk) -> None:
    from mailguard.learning.delta import Example
    from mailguard.learning.lessons import Teaching, teach
    from tests.unit.learning.examples import NEWS as TRAITS

    unit = desk.delivered()
    one = Teaching(desk.world.tenant, unit, False, 8.2, Example(b"", TRAITS))
    desk.world.db.write_sync(
        lambda conn: teach(conn, [one], source=Source.LEARN, teacher="ann", now=desk.world.db.now(conn), scale=Scale())
    )
    assert await desk.send(copy_of(unit)) == "overruled 1"
