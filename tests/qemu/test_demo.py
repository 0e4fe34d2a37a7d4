"""The session that README.md shows, `make demo`, is what the system does."""
import importlib.machinery
import importlib.util
import subprocess

from keel_qemu import GuestFailure, qemu

PROGRAM = qemu.ROOT / 'tools' / 'demo'


def demo():
    loader = importlib.machinery.SourceFileLoader('keel_demo', str(PROGRAM))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader('keel_demo', loader))
    loader.exec_module(module)
    return module


def test_the_session_goes_as_written():
    module = demo()
    transcript = module.run()
    module.check(transcript)
    wanted = module.TRANSCRIPT.read_text().splitlines()
    for number, (found, due) in enumerate(zip(transcript.splitlines() + ['<end>'], wanted + ['<end>']), 1):
        if found != due:
            raise GuestFailure(f'docs/demo.txt:{number}: {due!r} is due, {found!r} was there; tools/demo --fast --write takes it')


def test_readme_shows_the_session():
    module = demo()
    if module.readme_text(module.TRANSCRIPT.read_text()) not in module.README.read_text():
        raise GuestFailure('README.md does not contain docs/demo.txt; tools/demo --fast --write puts it there')


def test_readme_shows_make_help():
    shown = subprocess.run(['make', '-s', 'help'], cwd=qemu.ROOT, capture_output=True, text=True, check=True).stdout
    if f'```\n{shown}```' not in demo().README.read_text():
        raise GuestFailure('README.md does not contain what `make help` prints')
