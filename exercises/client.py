"""The judge as its caller sees it: questions and answers, and what it says when the judge has ended meanwhile."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from tempfile import TemporaryFile

from ladder.stages import ROOT

LIMIT = 5  # seconds for which a test may compute


class Ended(Exception):
    """The judge ended without an answer; the message says why, `place` is (file, line) in the rung, or None."""

    def __init__(self, message, place=None):
        super().__init__(message)
        self.place = place


class Judge:
    """A judge that is started when it is made, so that it loads PyTorch while the learner reads."""

    def __init__(self, limit=LIMIT):
        self.limit = limit
        self.start()

    def start(self):
        """Start the process; it is `loaded` when it has answered for the first time."""
        self.loaded = False
        self.errors = TemporaryFile()  # noqa: SIM115 - as long as the process
        apart = (
            {"creationflags": subprocess.CREATE_NEW_PROCESS_GROUP} if os.name == "nt" else {"start_new_session": True}
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "exercises.judge", str(self.limit)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            encoding="utf-8",
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            **apart,  # so that Ctrl-C stops the one who asks, and not the judge with a traceback
        )

    def ask(self, question, folder=None, **more):
        """The answer to a question about a rung in a folder. Ended if there is none."""
        try:
            folders = {"folder": str(folder)} if folder else {}
            print(json.dumps({"ask": question, **folders, **more}), file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if answer:
            self.loaded = True
            return json.loads(answer)
        code = self.process.wait()
        self.errors.seek(0)
        said = self.errors.read().decode("utf-8", "replace")
        self.close()
        self.start()
        raise _ended(code, said, folder, self.limit)

    def close(self):
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            with suppress(BrokenPipeError):
                stream.close()


def _ended(code, said, folder, limit):
    places = re.findall(r'File "(.+?)", line (\d+) in', said)
    inside = [(file, int(line)) for file, line in places if folder and file.startswith(str(folder))]
    place = (os.path.relpath(inside[0][0], folder), inside[0][1]) if inside else None
    if "Timeout (" in said:
        return Ended(f"It took longer than {limit} seconds, so it was stopped: is there a loop that never ends?", place)
    if code < 0:
        name = signal.Signals(-code).name if -code in signal.Signals.__members__.values() else f"signal {-code}"
        return Ended(f"Python itself was ended by {name}.", place)
    last = said.strip().splitlines()[-1:] or ["without a word"]
    return Ended(f"The judge ended with status {code}: {last[0]}", place)
