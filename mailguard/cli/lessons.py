"""`mailguard lessons`: what tenants' people taught, what that did, and undoing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from mailguard.cli.context import actor_name, cli_of, tenant_id
from mailguard.cli.recorded import Actor, Why
from mailguard.cli.terminal import Cell, print_facts, print_json, print_table, say
from mailguard.cli.when import point, shown
from mailguard.core.clock import to_iso
from mailguard.core.errors import ConfigError, Problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine import Connection

    from mailguard.store.lessons import StoredLesson

app = typer.Typer(no_args_is_help=True, help="Lessons: what was taught of single mails, what it moved, and undoing it.")

Tenant = Annotated[str | None, typer.Option("--tenant", metavar="NAME", help="Only this tenant's.")]
Teacher = Annotated[str, typer.Option("--teacher", metavar="WHO", help="Only those of this admin, or user's address.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_(
    context: typer.Context,
    *,
    tenant: Tenant = None,
    teacher: Teacher = "",
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Taught from then on: 7d, 2026-11-01 (UTC).")
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Also those that were undone, or retired for newer ones.")
    ] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, max=100_000, help="At most so many, the newest.")] = 100,
    json: Json = False,
) -> None:
    """List lessons, the newest last, with what each did to the score of mail like its own."""
    from mailguard.store.lessons import LessonQuery, find_lessons
    from mailguard.store.tenants import tenant_names

    cli = cli_of(context)

    def work(conn: Connection) -> tuple[list[StoredLesson], dict[int, str]]:
        now = cli.now(conn)
        query = LessonQuery(
            tenant=tenant_id(conn, tenant),
            teacher=teacher,
            in_force=not all_,
            since=point(since, option="--since", now=now) if since else 0,
            limit=limit,
        )
        return find_lessons(conn, query), tenant_names(conn)

    found, names = cli.read(work)
    if json:
        print_json([_json(lesson, names) for lesson in found])
        return
    print_table(
        ("LESSON", "TAUGHT", "TENANT", "AS", "BY", "HOW", "SCORE", "MAIL", "FROM", "SUBJECT", ""),
        (
            (
                str(lesson.id),
                shown(lesson.at),
                names.get(lesson.tenant, str(lesson.tenant)),
                "spam" if lesson.spam else "ham",
                lesson.teacher,
                lesson.source,
                _moved(lesson),
                lesson.unit,
                lesson.header_from,
                lesson.subject,
                Cell(_standing(lesson), "red"),
            )
            for lesson in found
        ),
        empty="nothing was taught yet; `mailguard quarantine release` and `mailguard quarantine learn` teach",
    )


@app.command("show")
def show(
    context: typer.Context,
    *,
    ids: Annotated[list[int], typer.Argument(metavar="LESSON...", help="Its number.", show_default=False)],
    json: Json = False,
) -> None:
    """Show lessons: of which mail, by whom and why, what they moved, and where mail like theirs stands now."""
    from mailguard.store.lessons import get_lessons
    from mailguard.store.tenants import tenant_names

    cli = cli_of(context)

    def work(conn: Connection) -> tuple[list[StoredLesson], dict[int, str], dict[int, float]]:
        found = get_lessons(conn, ids)
        return found, tenant_names(conn), {lesson.id: _now(conn, lesson, cli.now(conn)) for lesson in found}

    found, names, scores = cli.read(work)
    if json:
        print_json([{**_json(lesson, names), "score_now": scores[lesson.id]} for lesson in found])
        return
    for lesson in found:
        say(f"lesson {lesson.id}: {'spam' if lesson.spam else 'ham'} {_standing(lesson)}".strip(), style="bold")
        print_facts(
            {
                "  tenant": names.get(lesson.tenant, str(lesson.tenant)),
                "  mail": f"{lesson.unit} from {lesson.header_from}: {lesson.subject}",
                "  taught": f"{shown(lesson.at)} by {lesson.teacher} ({lesson.source})",
                "  why": lesson.why,
                "  moved": f"mail like it from {_moved(lesson)}",
                "  now": f"{scores[lesson.id]:.1f}" if lesson.in_force else "",
                "  learned": ", ".join([*(["its content"] if lesson.sketch else []), *_kinds(lesson)]),
                "  model": lesson.model,
                "  undone": f"{shown(lesson.undone_at)} by {lesson.undone_by}" if lesson.undone_at else "",
            }
        )


@app.command("undo")
def undo(
    context: typer.Context,
    *,
    ids: Annotated[list[int] | None, typer.Argument(metavar="LESSON", help="Its number.", show_default=False)] = None,
    teacher: Annotated[
        str, typer.Option("--teacher", metavar="WHO", help="All of this admin's, or user's, instead of numbers.")
    ] = "",
    tenant: Tenant = None,
    why: Why = "",
    actor: Actor = "",
    json: Json = False,
) -> None:
    """Undo lessons: the tenant's filter is then as if they had never been taught. The record of them stays."""
    from mailguard.learning.lessons import undo as undo_lessons
    from mailguard.store.lessons import LessonQuery, find_lessons, get_lessons

    if bool(ids) == bool(teacher):
        raise ConfigError([Problem("LESSON", "give numbers of lessons, or --teacher for all of somebody's")])
    cli, who = cli_of(context), actor_name(actor)

    def work(conn: Connection) -> tuple[list[StoredLesson], list[int]]:
        if ids:
            found = get_lessons(conn, ids)
        else:
            query = LessonQuery(tenant=tenant_id(conn, tenant), teacher=teacher, in_force=True)
            found = find_lessons(conn, query)
        return found, undo_lessons(conn, found, actor=who, now=cli.now(conn), why=why)

    found, undone = cli.write(work)
    if json:
        print_json([{"lesson": lesson.id, "unit": lesson.unit, "undone": lesson.id in undone} for lesson in found])
        return
    for lesson in found:
        how = "undone" if lesson.id in undone else f"was not in force {_standing(lesson)}".strip()
        say(f"lesson {lesson.id} ({'spam' if lesson.spam else 'ham'}, {lesson.unit}): {how}")
    if not found:
        say("nothing of that teacher is in force")


def _now(conn: Connection, lesson: StoredLesson, now: int) -> float:
    """The score that the lesson's own mail would have now."""
    from mailguard.app.learning import scale
    from mailguard.learning.delta import Delta, Example
    from mailguard.learning.lessons import traits_from
    from mailguard.store.lessons import features_of, read_delta

    measure = scale()
    example = Example(features_of(conn, [lesson.id])[lesson.id], traits_from(lesson.traits))
    delta = Delta.unpacked(read_delta(conn, lesson.tenant).weights)
    return round(measure.score(lesson.base) + measure.points(delta.shift(example, at=now)), 2)


def _moved(lesson: StoredLesson) -> str:
    return f"{lesson.score_before:.1f} → {lesson.score_after:.1f}"


def _standing(lesson: StoredLesson) -> str:
    if lesson.undone_at is not None:
        return f"(undone by {lesson.undone_by})"
    return "(retired)" if lesson.retired_at is not None else ""


def _kinds(lesson: StoredLesson) -> list[str]:
    said = {
        "address": "its sender's address",
        "person": "its sender's address",
        "domain": "its sender's domain",
        "list": "its list",
        "shape": "the shape of its subject",
    }
    return [said.get(kind, kind) for kind, _ in lesson.traits]


def _json(lesson: StoredLesson, names: Mapping[int, str]) -> dict[str, object]:
    return {
        "lesson": lesson.id,
        "tenant": names.get(lesson.tenant, str(lesson.tenant)),
        "unit": lesson.unit,
        "at": to_iso(lesson.at),
        "as": "spam" if lesson.spam else "ham",
        "teacher": lesson.teacher,
        "source": lesson.source,
        "why": lesson.why,
        "model": lesson.model,
        "content": bool(lesson.sketch),
        "traits": [kind for kind, _ in lesson.traits],
        "step": lesson.step,
        "score_before": lesson.score_before,
        "score_after": lesson.score_after,
        "in_force": lesson.in_force,
        "undone_at": to_iso(lesson.undone_at) if lesson.undone_at else None,
        "undone_by": lesson.undone_by,
        "retired_at": to_iso(lesson.retired_at) if lesson.retired_at else None,
        "header_from": lesson.header_from,
        "subject": lesson.subject,
    }
