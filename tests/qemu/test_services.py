"""The runtime and the service manager, tested from inside by the programs in tests/services: calls, deferred answers,
threads, spawning, deaths and replacements, the death of the manager itself."""
from keel_qemu import Guest, cases
import qemu


@cases(smp=[1, 4])
def test_services_die_and_come_back(smp):
    with Guest(smp=smp, initrd=qemu.build_dir() / 'services.img') as guest:
        guest.expect(r'ready in \d+ ms: 2 services, 3 failed')
        guest.expect(r'took over 2 running services')
        guest.expect(r'\n[^\n]*\b0 of \d+ failed')
        guest.expect_success()
