"""`mailguard policy`: check, list and show the filtering profiles in policies/."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mailguard.cli.context import cli_of
from mailguard.cli.policy_diff import diff
from mailguard.cli.terminal import print_json, print_plain, print_table, safe, say
from mailguard.core.errors import ConfigError, Problem

app = typer.Typer(no_args_is_help=True, help="Filtering profiles: what is done about what was found.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("check")
def check(
    context: typer.Context,
    path: Annotated[
        Path | None,
        typer.Argument(metavar="[PATH]", help="Directory of profiles. Default: [policies] path.", show_default=False),
    ] = None,
    *,
    json: Json = False,
) -> None:
    """Check every profile, list file, content rule, YARA rule and list of hashes; exit 2 with each problem at its path and line when there is one."""
    from mailguard.policy.read import read_profiles

    directory = path or cli_of(context).settings.policies.path
    profiles, problems = read_profiles(directory)
    rules, wrong_rules = _rules(directory / "rules")
    yara, wrong_yara = _yara(directory)
    hashes, wrong_hashes = _hashes(directory)
    problems += wrong_rules + wrong_yara + wrong_hashes
    if json:
        print_json(
            {
                "path": str(directory),
                "profiles": {name: policy.hash for name, policy in profiles.items()},
                "rules": rules,
                "yara": yara,
                "hashes": hashes,
                "problems": [{"where": problem.where, "message": problem.message} for problem in problems],
            }
        )
        if problems:
            raise typer.Exit(2)
        return
    if problems:
        raise ConfigError(problems)
    say(
        f"{directory} is in order: {len(profiles)} profiles ({', '.join(profiles)}), {rules} rules, "
        f"{yara} YARA rules, {hashes} hashes"
    )


def _rules(directory: Path) -> tuple[int, tuple[Problem, ...]]:
    """How many content rules there are in `directory`, which need not be there, and what is wrong with them."""
    from mailguard.checks.rules_file import load_rules

    try:
        return (len(load_rules(directory)) if directory.is_dir() else 0), ()
    except ConfigError as error:
        return 0, tuple(Problem(f"rules/{problem.where}", problem.message) for problem in error.problems)


def _yara(directory: Path) -> tuple[int, tuple[Problem, ...]]:
    """The same of YARA rules."""
    from mailguard.checks.yara_file import YaraFiles

    files = YaraFiles(directory / "yara")
    problems = files.reload()
    return len(files.current), problems


def _hashes(directory: Path) -> tuple[int, tuple[Problem, ...]]:
    """The same of known bad hashes."""
    from mailguard.checks.hashes_file import HashesFiles

    files = HashesFiles(directory / "hashes")
    problems = files.reload()
    return len(files.current), problems


@app.command("list")
def list_(context: typer.Context, *, json: Json = False) -> None:
    """List the profiles: their names, the start of their hash as in the trace, what they are for."""
    from mailguard.policy.files import PolicyFiles

    files = PolicyFiles(cli_of(context).settings.policies.path)
    files.load()
    profiles = {name: files.find(name) for name in files.names}
    if json:
        print_json(
            [
                {"name": name, "hash": policy.hash, "description": policy.description}
                for name, policy in profiles.items()
            ]
        )
        return
    print_table(
        ("NAME", "HASH", "DESCRIPTION"),
        ((name, policy.hash[:12], policy.description) for name, policy in profiles.items()),
        empty="no profiles",
    )


@app.command("show")
def show(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The profile.", show_default=False)],
    *,
    json: Json = False,
) -> None:
    """Show a profile as it takes effect: what it extends and its list files included. The output is a valid profile."""
    from mailguard.policy.files import PolicyFiles
    from mailguard.policy.shape import to_data

    files = PolicyFiles(cli_of(context).settings.policies.path)
    files.load()
    policy = files.find(name)
    if json:
        print_json({"name": policy.name, "hash": policy.hash, **to_data(policy)})
        return
    import yaml

    say(f"# profile {policy.name}, hash {policy.hash}")
    text = yaml.safe_dump(to_data(policy), sort_keys=False, allow_unicode=True, width=120)
    for line in text.splitlines():
        print_plain(safe(line))


app.command("diff")(diff)
