"""Torture on parallel CPUs: random calls (tests/system/fuzz), attacks on capabilities (tests/system/attack), processes made and killed
(tests/system/churn). `seed=` fixes the kernel's random numbers, and with them what the programs do; what the CPUs do at the same time it
does not. KEEL_LONG=1 runs more."""
import os

from keel_qemu import Guest, LONG, cases
import qemu

# Seeds that once broke the kernel: calls without a target travelled (1), a server that came home as a caller never settled (2).
SEEDS = [1, 2]
LIMIT = 4 * 3600 if LONG else 600
FUZZ_CALLS = int(os.environ.get('FUZZ_CALLS', 10_000_000 if LONG else 1_000_000))


def run(image, *, seed, amount, smp=2):
    with Guest(smp=smp, initrd=qemu.build_dir() / f'{image}.img', append=f'seed={seed} test={amount}', limit=LIMIT) as guest:
        guest.expect(rf'(?:ok|not ok) \d+ - {image}', timeout=LIMIT)
        guest.expect_success()


@cases(seed=SEEDS)
def test_fuzz(seed):
    run('fuzz', seed=seed, amount=FUZZ_CALLS)


@cases(smp=[2, 4, 8, 16] if LONG else [2, 8])
def test_churn(smp):
    run('churn', seed=1, amount=1_000_000 if LONG else 10_000, smp=smp)


@cases(smp=[1, 2, 4, 8, 16] if LONG else [1, 2, 4])
def test_crowd(smp):
    """Calls, forwards and nested calls while their threads are cancelled, suspended, moved."""
    run('crowd', seed=1, amount=10_000_000 if LONG else 60_000, smp=smp)


@cases(smp=[1, 2, 4, 8] if LONG else [1, 2])
def test_clones(smp):
    """Copies of memory that threads and a child process write to at that time. Emulated CPUs that share one take long to flush their TLBs."""
    run('clones', seed=1, amount=(5000 if LONG else 60) if smp <= 2 else 100, smp=smp)


@cases(smp=[1, 2, 4, 8, 16] if LONG else [1, 2])
def test_attack(smp):
    with Guest(smp=smp, initrd=qemu.build_dir() / 'attack.img', append=f'seed=1 test={10**8 if LONG else 10**6}', limit=LIMIT) as guest:
        guest.expect('attack done', timeout=LIMIT)
        guest.expect_success()
