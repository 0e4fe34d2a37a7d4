"""The kernel comes up on every machine, amount of memory and number of CPUs, and finds its memory."""
from keel_qemu import Guest, GuestFailure, Skipped, cases, host_memory_bytes

SELFTEST = 'selftest'


def mebibytes(mem):
    return int(mem[:-1]) * (1024 if mem[-1] == 'G' else 1)


@cases(machine=['q35', 'microvm'], mem=['64M', '256M', '8G'], smp=[1, 4])
def test_boots(machine, mem, smp):
    # Untouched guest memory costs nothing, but a host without that much in reserve refuses the guest.
    if mebibytes(mem) << 20 > host_memory_bytes():
        raise Skipped(f'needs {mem}')
    with Guest(machine=machine, mem=mem, smp=smp, append=SELFTEST) as guest:
        found = int(guest.expect(r'Keel: (\d+) MiB of memory').group(1))
        if not mebibytes(mem) - 4 <= found <= mebibytes(mem):
            raise GuestFailure(f'{found} MiB found of {mem}')
        guest.expect_success()


def slide(append):
    with Guest(append=f'{SELFTEST} {append}', machine='microvm') as guest:
        return int(guest.expect(r'slide (0x[0-9a-f]+)\n').group(1), 16)


def test_a_seed_fixes_the_slide():
    assert slide('seed=7') == slide('seed=7')
    assert len({slide(f'seed={n}') for n in range(1, 6)}) > 1


def test_nokaslr_gives_no_slide():
    assert slide('nokaslr') == 0


@cases(machine=['q35', 'microvm'])
def test_boots_the_same_under_icount(machine):
    outputs = set()
    for _ in range(2):
        with Guest(machine=machine, append=f'{SELFTEST} seed=1', icount=True) as guest:
            guest.expect_success()
            outputs.add(guest.text)
    assert len(outputs) == 1
