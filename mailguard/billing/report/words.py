"""A report's sentences, tables and charts in plain words, for an owner who is not technical. HTML, PDF and mail show these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from mailguard.billing.money import ZERO
from mailguard.billing.render import charts, figures
from mailguard.billing.render.xml import Element
from mailguard.billing.report.facts import Delays, Facts, Ranked, Threat
from mailguard.core.decision import Reason

REACHED, STOPPED = "Reached you", "Stopped"


@dataclass(frozen=True, slots=True)
class Tile:
    """A large figure with what it says."""

    figure: str
    words: str
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """A heading, its sentences, a chart, and rows of words and figures; each may be missing but the first.

    `listed` says in rows what the chart shows, where there are no charts.
    """

    heading: str
    sentences: tuple[str, ...] = ()
    chart: Element | None = None
    rows: tuple[tuple[str, str], ...] = ()
    listed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """The report, top to bottom."""

    title: str
    tenant: str
    month: str
    by: str
    summary: str
    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...]
    foot: str


THREATS: Mapping[Threat, tuple[str, str]] = MappingProxyType(
    {
        Threat.MALWARE: ("Viruses", "carried a virus or other harmful software"),
        Threat.ATTACHMENT: ("Dangerous attachments", "had a file of a kind that is used to break into computers"),
        Threat.FORGED: ("Forged senders", "pretended to come from a company that had not sent them"),
        Threat.SPAM: ("Spam and fraud", "were unwanted advertising, or tried to cheat the reader"),
        Threat.RULE: ("Against your rules", "had content that a rule of yours or ours keeps out"),
        Threat.DENIED: ("Blocked senders", "came from senders on your block list"),
    }
)

_REFUSALS: Mapping[str, str] = MappingProxyType(
    {
        Reason.UNKNOWN_RECIPIENT.value: "To addresses that do not exist",
        Reason.UNVERIFIED_RECIPIENT.value: "Put off: nobody could say whether the address exists",
        Reason.GREYLISTED.value: "Put off once, since the sender was new",
        Reason.RATE_LIMIT.value: "Too many at once from one sender",
        Reason.TOO_LARGE.value: "Too large",
        Reason.UNSUPPORTED_BY_NEXT_HOP.value: "Of a kind that your server does not take",
    }
)


def page(facts: Facts, *, by: str) -> Page:
    """The report in words. `by` names the provider."""
    shown = figures.month(facts.month)
    return Page(
        title=f"Mail report for {shown}",
        tenant=facts.tenant,
        month=shown,
        by=by,
        summary=_summary(facts, shown),
        tiles=(
            Tile(f"{facts.usage.received.units:,}", "mails were sent to you"),
            Tile(f"{facts.delivered:,}", "reached you"),
            Tile(f"{facts.stopped:,}", "were stopped", bad=True),
        ),
        sections=tuple(
            section
            for section in (
                _days(facts),
                _threats(facts),
                _attacked(facts.attacked),
                _spoofed(facts.spoofed),
                _delays(facts.service.delays),
                _promises(facts),
                _refused(facts),
                _figures(facts),
            )
            if section is not None
        ),
        foot=f"A day begins at midnight in the time zone {facts.time_zone}. A mail to several people counts once for each of them.",
    )


def _summary(facts: Facts, month: str) -> str:
    received = facts.usage.received.units
    unfinished = [] if facts.is_over else ["The month is not over: this is what came so far."]
    if not received:
        return " ".join([f"No mail was sent to you in {month}.", *unfinished])
    parts = [f"In {month}, {_mails(received)} {'was' if received == 1 else 'were'} sent to you.", *unfinished]
    if facts.stopped:
        parts.append(f"{_share(facts.stopped, received)} of that was dangerous or unwanted, and we kept it from you.")
    else:
        parts.append("Nothing dangerous or unwanted had to be kept from you.")
    malware = facts.threats.get(Threat.MALWARE, 0)
    if malware:
        parts.append(f"{_mails(malware).capitalize()} carried a virus.")
    change = _change(received, facts.before.received.units)
    if change:
        parts.append(f"The month before it was {change}.")
    missed = sum(not level.met for level in facts.service.levels)
    if facts.service.levels:
        parts.append("We kept all that we promised." if not missed else f"We missed {_promised(missed)}: see below.")
    return " ".join(parts)


def _days(facts: Facts) -> Section:
    bars = [
        charts.Bar(
            str(day.date.day) if day.date.day == 1 or day.date.day % 5 == 0 else "",
            figures.day(day.date),
            day.delivered,
            day.stopped,
        )
        for day in facts.days
    ]
    busiest = max(facts.days, key=lambda day: day.received, default=None)
    sentences = []
    if busiest is not None and busiest.received:
        sentences.append(f"The busiest day was {figures.day(busiest.date)}, with {_mails(busiest.received)}.")
    chart = charts.days_chart(bars, title="Mail per day", good=REACHED, bad=STOPPED)
    return Section("Mail per day", tuple(sentences), chart)


def _threats(facts: Facts) -> Section:
    if not facts.threats:
        return Section("What we stopped", ("Nothing dangerous or unwanted arrived.",))
    ranked = sorted(facts.threats.items(), key=lambda item: -item[1])
    rows = [charts.Row(THREATS[threat][0], mails, f"{mails:,}", bad=True) for threat, mails in ranked]
    sentences = [f"{_mails(mails).capitalize()} {THREATS[threat][1]}." for threat, mails in ranked]
    if facts.usage.released.units:
        sentences.append(
            f"{_mails(facts.usage.released.units).capitalize()} that we had kept back went on to you on request."
        )
    if facts.tagged:
        sentences.append(f"{_mails(facts.tagged).capitalize()} reached you with a mark that says: be careful.")
    return Section("What we stopped", tuple(sentences), charts.ranking_chart(rows, title="What was stopped, by kind"))


def _attacked(attacked: Sequence[Ranked]) -> Section | None:
    if not attacked:
        return None
    sentence = "These mailboxes were sent most of it. It is worth telling those who read them what to look out for."
    return _ranked("Who is attacked most", sentence, attacked, "Stopped mails, by mailbox")


def _spoofed(spoofed: Sequence[Ranked]) -> Section | None:
    if not spoofed:
        return None
    sentence = (
        "Mail that was stopped claimed to come from these domains, and did not. "
        "Be careful with mail in their names, above all when it asks for money or a password."
    )
    return _ranked("In whose name attackers wrote", sentence, spoofed, "Stopped forgeries, by domain")


def _ranked(heading: str, sentence: str, ranked: Sequence[Ranked], title: str) -> Section:
    rows = [charts.Row(one.name, one.mails, f"{one.mails:,}", bad=True) for one in ranked]
    return Section(heading, (sentence,), charts.ranking_chart(rows, title=title), listed=_listed(rows))


def _listed(rows: Sequence[charts.Row]) -> tuple[tuple[str, str], ...]:
    return tuple((row.label, row.shown) for row in rows)


def _delays(delays: Delays | None) -> Section | None:
    if delays is None:
        return None
    rows = [
        charts.Row("Half of your mail", delays.p50, f"within {_seconds(delays.p50)}"),
        charts.Row("95 of 100", delays.p95, f"within {_seconds(delays.p95)}"),
        charts.Row("99 of 100", delays.p99, f"within {_seconds(delays.p99)}"),
    ]
    sentence = "This is the time that our checks took, from when a mail had arrived with us until your server had it."
    return Section(
        "How fast your mail came through",
        (sentence,),
        charts.ranking_chart(rows, title="Added delay"),
        listed=_listed(rows),
    )


def _promises(facts: Facts) -> Section | None:
    levels = facts.service.levels
    if not levels:
        return None
    missed = [level for level in levels if not level.met]
    credited = sum((level.credit_percent for level in missed), start=ZERO)
    kept = "We kept every promise of your contract."
    sentences = [f"We missed {_promised(len(missed))} of your contract." if missed else kept]
    if credited:
        invoice = f"The invoice for {figures.month(facts.month)}"
        sentences.append(f"{invoice} credits {figures.percent(credited)} of the monthly fee for it; you need not ask.")
    listed = tuple(
        (f"{one.commitment}, promised {one.target}", f"{one.measured}, {'kept' if one.met else 'missed'}")
        for one in levels
    )
    shown = [charts.Promise(level.commitment, level.target, level.measured, level.met) for level in levels]
    chart = charts.promises_chart(shown, title="Promises and measurements")
    return Section("What we promised", tuple(sentences), chart, listed=listed)


def _refused(facts: Facts) -> Section | None:
    if not facts.refused:
        return None
    known = {_REFUSALS.get(reason, "For other reasons"): 0 for reason in facts.refused}
    for reason, mails in facts.refused.items():
        known[_REFUSALS.get(reason, "For other reasons")] += mails
    rows = sorted(known.items(), key=lambda item: -item[1])
    sentence = "Before their content came, these attempts to send you mail were turned away. They are not among the figures above."
    return Section("Turned away at the door", (sentence,), None, tuple((name, f"{mails:,}") for name, mails in rows))


def _figures(facts: Facts) -> Section:
    counted = facts.usage
    rows = (
        ("Received", f"{counted.received.units:,}"),
        ("Delivered", f"{counted.delivered.units:,}"),
        ("Kept in quarantine", f"{counted.quarantined.units:,}"),
        ("Delivered out of quarantine", f"{counted.released.units:,}"),
        ("Refused to their sender", f"{counted.rejected.units:,}"),
        ("Put off: the sender tries again", f"{counted.deferred.units:,}"),
        ("Mailboxes that received mail", f"{counted.billed_mailboxes:,}"),
        ("Volume received", figures.size(counted.received.size)),
    )
    sentence = (
        "Your invoice is worked out from the same records. Mail that waits over the end of a month is received in one month "
        "and delivered in the next, so these figures need not add up to each other."
    )
    return Section("The figures in full", (sentence,), None, rows)


def _mails(count: int) -> str:
    return "one mail" if count == 1 else f"{count:,} mails"


def _promised(count: int) -> str:
    return "one promise" if count == 1 else f"{count} promises"


def _share(part: int, whole: int) -> str:
    percent = 100 * part / whole
    if percent < 1:
        return "Less than 1 %"
    return f"{percent:.0f} %"


def _change(now: int, before: int) -> str:
    """The month before, beside this one; empty when it was no different, or there was none."""
    if not before or before == now:
        return ""
    return f"{before:,}"


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return "less than a second" if seconds < 0.1 else f"{seconds:.1f} seconds"
    if seconds < 90:
        return f"{seconds:.1f} seconds" if seconds < 10 else f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
