"""QEMU suites for Keel: tests/qemu/test_*.py, plain functions named test_*.

    from keel_qemu import Guest, cases

    @cases(machine=['q35', 'microvm'], smp=[1, 4])
    def test_boots(machine, smp):
        with Guest(machine=machine, smp=smp, append='selftest') as guest:
            guest.expect(r'Keel')
            guest.expect_success()

A function that returns has passed; an exception is its failure. Besides, each line `ok N - name` or `not ok N - name` that a guest
prints is a result of its own. Nothing here measures time: timeouts only end what hangs, and are generous.
"""
import itertools
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / 'tools' / 'lib'))
import qemu

LONG = bool(os.environ.get('KEEL_LONG'))
PROFILE = os.environ.get('PROFILE') or 'standard'
ESCAPES = re.compile(r'\x1bc|\x1b\[[0-9;?=]*[A-Za-z]')
TAP = re.compile(r'^(?:\[ *\d+\.\d+\] )?(ok|not ok) \d+ - (.*)$', re.M)
# What the guests of the current test printed in TAP form and what to show when it fails; one test runs per thread.
current = threading.local()


class GuestFailure(AssertionError):
    pass


class Skipped(Exception):
    """The host lacks what the test needs; it counts neither as passed nor as failed."""


def cases(**axes):
    """Runs the function once for every combination of the given arguments."""
    def mark(function):
        function.keel_cases = [dict(zip(axes, values)) for values in itertools.product(*axes.values())]
        return function
    return mark


def host_memory_bytes():
    for line in open('/proc/meminfo'):
        if line.startswith('MemAvailable:'):
            return int(line.split()[1]) * 1024
    return 0


class Guest:
    """One Keel in QEMU. Use as a context manager: leaving it ends the guest and collects its results."""

    def __init__(self, smp=1, mem='256M', machine='q35', disk=None, append='', icount=False, kernel=None, initrd=None, limit=300,
                 extra=()):
        directory = qemu.build_dir(PROFILE)
        self.command = qemu.qemu_command(machine=machine, smp=smp, mem=mem, disk=disk, append=append, icount=icount,
                                         kernel=kernel or directory / 'keel.elf', initrd=initrd or directory / 'boot.img',
                                         serial='stdio', extra=extra)
        self.deadline = time.monotonic() + limit
        self.text = ''  # all output so far, without terminal escapes and carriage returns
        self.seen = 0  # expect() has consumed this much of it
        self.ended = False
        self.changed = threading.Condition()
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        getattr(current, 'guests', []).append(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def _read(self):
        raw = ''
        while True:
            data = os.read(self.process.stdout.fileno(), 65536)
            with self.changed:
                if data:
                    # Escapes may be split between reads, so clean everything that is not yet behind `seen`; output is small.
                    raw += data.decode('utf-8', 'replace')
                    self.text = ESCAPES.sub('', raw).replace('\r', '')
                else:
                    self.ended = True
                self.changed.notify_all()
            if not data:
                return

    def expect(self, pattern, timeout=120):
        """Waits for the regular expression in what was not consumed yet; returns the match.

        Output arrives in pieces: a pattern that ends in a repetition may match half a word, so end it with what follows.
        """
        end = min(self.deadline, time.monotonic() + timeout)
        compiled = re.compile(pattern, re.M)
        with self.changed:
            while True:
                match = compiled.search(self.text, self.seen)
                if match:
                    self.seen = match.end()
                    return match
                if self.ended:
                    raise GuestFailure(f'the guest ended before {pattern!r}')
                left = end - time.monotonic()
                if left <= 0:
                    raise GuestFailure(f'no {pattern!r}')
                self.changed.wait(left)

    def expect_letters(self, letters, timeout=120):
        """Waits for these characters in this order, with anything in between: an echo that other output came into."""
        end = min(self.deadline, time.monotonic() + timeout)
        with self.changed:
            while True:
                at = self.seen
                for letter in letters:
                    at = self.text.find(letter, at) + 1
                    if at == 0:
                        break
                else:
                    self.seen = at
                    return
                left = end - time.monotonic()
                if self.ended or left <= 0:
                    raise GuestFailure(f'no {letters!r}')
                self.changed.wait(left)

    def send(self, line):
        self.process.stdin.write(line.encode() + b'\r')
        self.process.stdin.flush()

    def wait_exit(self):
        """The exit status of QEMU once the guest has ended by itself."""
        try:
            status = self.process.wait(max(0, self.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise GuestFailure('the guest did not end') from None
        self.reader.join(10)
        return status

    def expect_success(self):
        """The guest ends by itself and reports success."""
        status = self.wait_exit()
        if status != qemu.EXIT_SUCCESS:
            raise GuestFailure(f'the guest ended with status {status}, not {qemu.EXIT_SUCCESS}')

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join(10)

    def results(self):
        """[(name, passed)] of the TAP lines that the guest printed."""
        return [(name, verdict == 'ok') for verdict, name in TAP.findall(self.text)]
