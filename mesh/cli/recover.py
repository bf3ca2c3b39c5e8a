"""meshctl operator raft recover: going on after a majority of the servers is lost for good."""

from __future__ import annotations

import getpass
import time
from pathlib import Path

from mesh.cli.command import OK, Command, Example
from mesh.cli.flags import Flag, Usage
from mesh.cli.invocation import Invocation
from mesh.datadir import existing_directory
from mesh.raft.epochs import Peer
from mesh.raft.rescue import Survivor, rescue, survey


def run(invocation: Invocation) -> int:
    """Show what this server holds, or make it the start of a new epoch."""
    parsed, out = invocation.parsed, invocation.out
    path = parsed.text("data-dir")
    if not path:
        raise Usage("give the stopped server's data directory: --data-dir")
    directory = existing_directory(path)
    try:
        folder = str(Path(path, "raft"))
        found = survey(folder)
        if parsed.switch("dry-run"):
            pairs = [
                ("Epoch", str(found.epoch.number)),
                ("Term", str(found.term)),
                ("Last Index", str(found.index)),
                ("Snapshot Index", str(found.snapshot_index)),
                ("Voters", ", ".join(sorted(voter.name for voter in found.epoch.voters))),
            ]
            out.fields(found, pairs)
            return OK
        me = Peer(directory.node_id, parsed.text("name"), parsed.text("address"))
        epoch = rescue(folder, me, parsed.many("keep"), _reason(found))
    finally:
        directory.close()
    names = ", ".join(sorted(voter.name for voter in epoch.voters))
    out.done(
        f"Epoch {epoch.number} starts after entry {found.index} with the voters {names}.\n"
        f"Writes that were acknowledged after entry {found.index} (term {found.term}) and reached "
        "only other servers are lost.\nStart this server, then those that were kept. Others that "
        "come back join without a vote.",
        Epoch=epoch.number,
        StartIndex=found.index,
        Voters=[voter.name for voter in epoch.voters],
    )
    return OK


def _reason(found: Survivor) -> str:
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return f"recovered by {getpass.getuser()} at {when} from epoch {found.epoch.number}"


COMMANDS = {
    "operator raft recover": Command(
        run,
        about="Go on after a majority of the servers was lost for good: on one stopped server of\n"
        "those left, write the next epoch of the log with the voters that are still there.\n"
        "Acknowledged writes that only the lost servers held are gone. First look at every server\n"
        "that is left with --dry-run, and take the one with the greatest epoch, term and index.",
        examples=(
            Example("operator raft recover --data-dir /var/lib/mesh --dry-run", "What it holds"),
            Example("operator raft recover --data-dir /var/lib/mesh", "It goes on alone"),
            Example("operator raft recover --data-dir /var/lib/mesh --keep s2", "Together with s2"),
        ),
        flags=(
            Flag("data-dir", "the data directory of the stopped server", value="FOLDER"),
            Flag("keep", "another voter that is still there; repeat", "list", value="ID"),
            Flag("name", "this server's name, where it had no vote", value="NAME"),
            Flag("address", "its server port, where it had no vote", value="IP:PORT"),
            Flag("dry-run", "only show what this server holds", "switch"),
        ),
        asks_agent=False,
    ),
}
