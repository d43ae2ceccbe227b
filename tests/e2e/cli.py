"""Runs the real command line in a process of its own, and keeps what every run printed."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import imagepipe
from tests.e2e.warm import Warm

DEADLINE_S = 90.0  # the slowest command takes about five seconds on two idle cores
PROGRAM = (sys.executable, "-m", "imagepipe")
# The very code that the tests import, however it is installed.
_SOURCE = Path(imagepipe.__file__).parents[1]
# What a test runner sets so that coverage is measured in other processes too, and so that they trust nobody else.
_KEPT = ("COVERAGE_", "COV_CORE_", "SSL_CERT_FILE")


@dataclass(frozen=True, slots=True)
class Run:
    """One finished command."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Everything about the run, for the message of a failed assertion."""
        return f"{' '.join(self.argv)}\nexit {self.code}\nstdout: {self.out}\nstderr: {self.err}"

    def ok(self) -> "Run":
        """Returns the run once it is proven to have ended well."""
        assert self.code == 0, self.said
        return self

    def json(self) -> dict[str, Any]:
        """Returns the one document on stdout; it must be alone there and name its schema."""
        try:
            document = json.loads(self.out)
        except ValueError:
            raise AssertionError(f"stdout is not one JSON document\n{self.said}") from None
        assert isinstance(document, dict), self.said
        assert re.fullmatch(r"imagepipe\.[a-z-]+/v1", document["schema"]), self.said
        return document

    def fails(
        self, code: int, *said: str, hint: str = ".", kind: str | None = None, schema: str = "imagepipe.error/v1"
    ) -> dict[str, Any]:
        """Returns the document of a failure once message, hint and exit code are proven, on both streams.

        Args:
            code: The exit code.
            said: Patterns that the message must hold, each.
            hint: A pattern that the hint must hold.
            kind: The error's kind in the document; None: any but a bug.
            schema: Which document carries the error.
        """
        assert self.code == code, self.said
        assert "Traceback" not in self.err, self.said
        told = re.search(r"^error: (?P<message>.*?)\nhint: (?P<hint>[^\n]+)\n\Z", self.err, re.MULTILINE | re.DOTALL)
        assert told, f"no message with a hint at the end of stderr\n{self.said}"
        for pattern in said:
            assert re.search(pattern, told["message"]), f"{pattern!r} is not in the message\n{self.said}"
        assert re.search(hint, told["hint"]), f"{hint!r} is not in the hint\n{self.said}"
        if "--json" not in self.argv:
            assert self.out == "", self.said
            return {}
        document = self.json()
        assert document["schema"] == schema, self.said
        error = document["error"]
        known = {"kind": error["kind"], "message": told["message"], "hint": told["hint"], "exit_code": code}
        assert {key: value for key, value in error.items() if key != "cause"} == known
        assert error["kind"] != "internal", self.said
        assert kind in (None, error["kind"]), self.said
        return document


@dataclass(slots=True)
class Cli:
    """Runs imagepipe as a job does: no terminal, a clean environment, a deadline.

    Attributes:
        home: An empty home, so that nobody's own configuration counts.
        environ: What `sandbox env` says, once the sandbox is up.
        runs: Every run so far.
    """

    home: Path
    environ: dict[str, str] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)

    def run(
        self,
        *argv: str,
        cwd: Path | None = None,
        config: Path | None = None,
        env: Mapping[str, str] | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> Run:
        """Runs one command to its end.

        Args:
            argv: What follows `imagepipe`.
            cwd: The working directory; absent: an empty one.
            config: Given as --config, in place of the sandbox's own.
            env: Variables over those of the sandbox.
            deadline_s: A run that takes longer fails the test.
        """
        line = self._line(argv, config)
        own, environ = line[len(PROGRAM) :], self._environment(env)
        code, out, err = _warm().run(own, cwd=cwd or self.home, environ=environ, deadline_s=deadline_s)
        return self._keep(line, code, out, err)

    def signalled(
        self, *argv: str, when: str, number: int, cwd: Path | None = None, deadline_s: float = DEADLINE_S
    ) -> Run:
        """Runs a command and sends it a signal as soon as a line of its stderr matches; see `disturbed`."""
        return self.disturbed(
            *argv, when=when, act=lambda child: child.send_signal(number), cwd=cwd, deadline_s=deadline_s
        )

    def disturbed(
        self,
        *argv: str,
        when: str,
        act: Callable[["subprocess.Popen[str]"], None],
        cwd: Path | None = None,
        config: Path | None = None,
        env: Mapping[str, str] | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> Run:
        """Runs a command and does something as soon as a line of its stderr matches.

        Args:
            argv: What follows `imagepipe`.
            when: A pattern; the first line that holds it lets it happen.
            act: What is done, to the process or to the world around it.
            cwd: The working directory.
            config: Given as --config, in place of the sandbox's own.
            env: Variables over those of the sandbox.
            deadline_s: The process is killed when it has not ended so long afterwards.
        """
        line = self._line(argv, config)
        told: list[str] = []
        with tempfile.TemporaryFile("w+") as answer:
            child = subprocess.Popen(
                line,
                cwd=cwd or self.home,
                env=self._environment(env),
                stdin=subprocess.DEVNULL,
                stdout=answer,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            with child:
                assert child.stderr is not None
                for text in child.stderr:
                    told.append(text)
                    if re.search(when, text):
                        act(child)
                        break
                told.append(_rest(child, deadline_s))
            answer.seek(0)
            run = self._keep(line, child.returncode, answer.read(), "".join(told))
        assert re.search(when, run.err, re.MULTILINE), f"{when!r} never came\n{run.said}"
        return run

    def _line(self, argv: Sequence[str], config: Path | None) -> list[str]:
        return [*PROGRAM, *argv, *(("--config", str(config)) if config else ())]

    def _environment(self, extra: Mapping[str, str] | None) -> dict[str, str]:
        return {**_surroundings(), "HOME": str(self.home), **self.environ, **(extra or {})}

    def _keep(self, line: Sequence[str], code: int, out: str, err: str) -> Run:
        run = Run(tuple(line), code, out, err)
        self.runs.append(run)
        return run


def _surroundings() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name.startswith(_KEPT)}
    return {**kept, "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "PYTHONPATH": str(_SOURCE)}


@cache
def _warm() -> Warm:
    """Returns the parent of this process's commands."""
    return Warm(_surroundings())


def cool() -> None:
    """Ends the parent of this process's commands, if there is one."""
    if _warm.cache_info().currsize:
        _warm().close()
        _warm.cache_clear()


def _rest(child: "subprocess.Popen[str]", deadline_s: float) -> str:
    """Returns what a process still says until it ends; one that does not end is killed."""
    try:
        return child.communicate(timeout=deadline_s)[1]
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            child.kill()
        return child.communicate()[1] + "\n(killed: it did not end)"
