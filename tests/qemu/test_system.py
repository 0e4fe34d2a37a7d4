"""The system calls on the machine itself: tests/system/abi runs as the first process and prints a result a line."""
from keel_qemu import Guest, cases
import qemu


@cases(machine=['q35', 'microvm'], smp=[1, 4])
def test_abi(machine, smp):
    with Guest(machine=machine, smp=smp, initrd=qemu.build_dir() / 'abi.img') as guest:
        guest.expect(r'abi: 0 of \d+ failed\n')
        guest.expect_success()


@cases(smp=[2, 8, 16])
def test_abi_on_more_cpus(smp):
    with Guest(smp=smp, mem='512M', initrd=qemu.build_dir() / 'abi.img', limit=900) as guest:
        guest.expect(rf'{smp} CPUs run\n')
        guest.expect(r'abi: 0 of \d+ failed\n', timeout=900)
        guest.expect_success()


def test_storm():
    """An interrupt line that goes off every microsecond of guest time is held back."""
    with Guest(icount=True, initrd=qemu.build_dir() / 'storm.img') as guest:
        guest.expect(r'storm: 0 of \d+ failed\n')
        guest.expect_success()


def test_scheduling():
    """Under icount, so that time is what the guest does. The long run is kernel/core/scheduling_test.cc, on the host."""
    with Guest(icount=True, initrd=qemu.build_dir() / 'sched.img') as guest:
        guest.expect(r'sched: 0 of \d+ failed\n', 120)
        guest.expect_success()
