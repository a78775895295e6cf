"""The command ``trustnode``: its commands, and what happens when one fails.

Decides: the list of commands, how errors are printed and which exit status they give. Leaves to others: the commands.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

import click

from trustnode.cli import exit_status
from trustnode.cli.lazy import Entry, LazyGroup
from trustnode.errors import PolicyDenied, QuotaExceeded, TrustnodeError, error

COMMANDS: Final[Mapping[str, Entry]] = {
    "demo": Entry("demo:demo", "Four exchanges on this machine, real data, one story."),
    # a node
    "init": Entry("node:init", "Make the folder of a node: keys, configuration, database."),
    "start": Entry("node:start", "Run the node in the foreground."),
    "stop": Entry("node:stop", "Let the node finish its streams and end."),
    "reload": Entry("node:reload", "Read configuration and certificates again."),
    "status": Entry("node:status", "How the node stands; exit 9 with an alarm."),
    "healthcheck": Entry("node:healthcheck", "Exit 0 if the node serves; for probes."),
    "config": Entry("configuration:config", "Check and show the settings of a node."),
    "key": Entry("key:key", "Keys: status, rotate, revoke."),
    "admin": Entry("admin:admin", "The people who operate the node."),
    "approve": Entry("approval:approve", "Approve what another operator asked for."),
    "store": Entry("store:store", "Check the node's store."),
    "backup": Entry("store:backup", "Copy the node's store; test and restore copies."),
    "card": Entry("card:card", "Versions of your venue card: next, sign, install."),
    "peer": Entry("peer:peer", "Other venues: cards, fingerprints, state."),
    "participant": Entry("participant:participant", "Who takes part at this venue."),
    "inbox": Entry("inbox:inbox", "What waits for you; accept, refuse, counter."),
    # a participant
    "join": Entry("participant:join", "Enrol with an invitation; makes your keys here."),
    "profile": Entry("profile:profile", "Who you are, and settings for other clients."),
    "product": Entry("product:product", "Draft, check, register, change products."),
    "publish": Entry("product:publish", "Register or change a product, then list it."),
    "listing": Entry("product:listing", "What is on sale here."),
    "policy": Entry("policy:policy", "Terms: check, explain, test, show."),
    "search": Entry("market:search", "Find products of all venues."),
    "show": Entry("market:show", "One product: columns, terms, who sells it."),
    "explain": Entry("data:explain", "What a query would deliver, and why; reads nothing."),
    "negotiate": Entry("market:negotiate", "Ask for an agreement on an offer."),
    "negotiation": Entry("market:negotiation", "Negotiations: list, show, withdraw."),
    "agreement": Entry("market:agreement", "Agreements: list, show, duties, end, suspend, delegate."),
    "read": Entry("data:read", "Read under an agreement."),
    "access": Entry("data:access", "Running and past accesses; stop one."),
    "receipts": Entry("data:receipts", "What was delivered under an agreement."),
    "cost": Entry("data:cost", "What an agreement has cost so far."),
    "budget": Entry("data:budget", "What is left of the limits of an agreement."),
    # proof
    "evidence": Entry("evidence:evidence", "The story of an agreement; its bundle."),
    "verify": Entry("evidence:verify", "Check a bundle; needs no node and no network."),
    "log": Entry("log:log", "The evidence log of the node."),
    "trace": Entry("trace:trace", "Whose copy a file is that turned up somewhere."),
    # reference
    "why": Entry("reference:why", "Explain a reason code."),
    "words": Entry("reference:words", "The closed words of a kind."),
    "protos": Entry("reference:protos", "Write out the gRPC contract."),
    "completion": Entry("reference:completion", "Completion for bash, zsh or fish."),
    "version": Entry("reference:version", "Versions of the program."),
}


class Root(LazyGroup):
    """The outermost group: turns whatever happens into words on stderr and an exit status."""

    def main(self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any) -> Any:  # type: ignore[override]
        """Run one command and exit."""
        words = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        try:
            status = super().main(words, prog_name or "trustnode", **extra)
        except Exception as problem:  # noqa: BLE001 (the outermost frame)
            status = report(problem, as_json="--json" in words, debug="--debug" in words)
        sys.exit(status if isinstance(status, int) else exit_status.DONE)


@click.group(cls=Root, entries=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="trustnode", message="trustnode %(version)s")
def root() -> None:
    """A data exchange runs one trustnode: catalog, contracts, governed reads, proof.

    Operators name their node with --home (TRUSTNODE_HOME), participants their profile with --profile
    (TRUSTNODE_PROFILE). --json gives programs what tables give people.
    """


def main() -> NoReturn:
    """Entry point of the program."""
    root.main()
    sys.exit(exit_status.FAILED)  # not reached: main exits


def report(problem: Exception, *, as_json: bool, debug: bool) -> int:
    """Print an error to stderr; returns the exit status."""
    if isinstance(problem, click.exceptions.Exit):
        return int(problem.exit_code)
    if isinstance(problem, BrokenPipeError):
        return exit_status.DONE
    if debug:
        import traceback

        traceback.print_exception(problem)
    known = _known(problem)
    click.echo(_as_json(known) if as_json else "\n".join(_as_lines(known)), err=True)
    return known.exit_status


def _known(problem: Exception) -> TrustnodeError:
    """The error as one of the table."""
    if isinstance(problem, TrustnodeError):
        return problem
    if isinstance(problem, click.Abort):
        return error("CANCELLED", "interrupted")
    if isinstance(problem, click.UsageError):
        context = problem.ctx
        step = f"See: {context.command_path} --help" if context else ""
        return error("USAGE", problem.format_message(), **({"next_step": step} if step else {}))
    if isinstance(problem, click.ClickException):
        return error("USAGE", problem.format_message())
    if isinstance(problem, OSError) and problem.filename:
        return error(
            "USAGE", f"{problem.filename}: {problem.strerror}", next_step="Check the path and its permissions."
        )
    step = "Repeat with --debug and report what it prints."
    return error("INTERNAL", f"{type(problem).__name__}: {problem}", next_step=step)


def _as_json(problem: TrustnodeError) -> str:
    fixed = {"reason", "message", "next_step", "retryable"}
    body = {
        "reason": problem.reason,
        "message": problem.message,
        "next_step": problem.next_step,
        "retryable": problem.retryable,
        **{key: value for key, value in problem.metadata.items() if key not in fixed},
    }
    return json.dumps({"error": body}, ensure_ascii=False)


def _as_lines(problem: TrustnodeError) -> list[str]:
    refused = isinstance(problem, PolicyDenied | QuotaExceeded) or problem.exit_status == 3
    lines = [f"{'REFUSED  ' if refused else ''}{problem.reason}  {problem.message}"]
    place = problem.metadata
    if "file" in place and "line" in place:
        lines.append(f"in       {place['file']}:{place['line']}:{place.get('column', '1')}")
    if problem.next_step:
        lines.append(f"next     {problem.next_step}")
    return lines
