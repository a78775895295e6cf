"""The demonstration: four venues in four processes, real data, one story, told through the public commands alone.

Decides: that the story ends with 0 only if every step held, and that no process outlives it. Leaves to others: data,
stage and story.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path


def main(*, once: bool = False, directory: str = "demo") -> int:
    """Tell the story.

    Args:
        once: Stop by itself at the end; otherwise the nodes stay up until Ctrl-C.
        directory: Folder for homes, profiles, data and logs.

    Returns:
        Exit status: 0 when every step held.
    """
    from trustnode.demo import data, stage, story

    began = time.monotonic()
    play = stage.Stage(Path(directory).resolve())
    try:
        play.clear()
        rows = data.prepare(play.folder / "data")
        story.tell(play, rows)
        stage.say()
        seconds = time.monotonic() - began
        stage.say(f"{play.held} steps held, {play.refusals} refusals as they should be{seconds:>28.0f} s")
        if not once:
            _stay(Path(directory))
    except stage.StepFailedError as failed:
        sys.stderr.write(f"\na step did not hold\n{failed}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        play.stop()
    return 0


def _stay(folder: Path) -> None:
    from trustnode.demo.stage import say

    say(f"try  cli      trustnode status --home {folder}/zj")
    say(f"     python   import trustnode as tn; cx = tn.connect('{folder}/profiles/acme')")
    say("              print(cx.agreement('flights').sql('select * from flights limit 5')")
    say("                    .to_pandas())")
    say(f"     search   trustnode search 航班 --profile {folder}/profiles/acme")
    say(f"     logs     {folder}/*.log                                 Ctrl-C ends it")
    while True:
        time.sleep(3600)
