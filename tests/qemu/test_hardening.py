"""The profiles dev and hardened, the kernel's settings, and that what breaks is noticed. tools/test builds the kernels of both and
their ABI image; the shell session runs the programs of the standard build on them."""
import pathlib
import re
import subprocess
import sys

from keel_qemu import PROFILE, Guest, GuestFailure, cases
import qemu

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from test_shell import Session, check, contains  # noqa: E402

OTHERS = ['dev', 'hardened']
# In the mangled names of functions and tables: who has them.
MECHANISMS = {
    '8Scrubber': {'dev', 'hardened'},
    'take_spoilt': {'dev', 'hardened'},
    '8TextHash': {'dev', 'hardened'},
    'MessageChecks': {'dev', 'hardened'},
    'crc32c': {'dev', 'hardened'},
    'route_message': {'dev', 'hardened'},
    'broken_invariant': {'dev', 'hardened'},
    'bits_agree': {'dev', 'hardened'},
    '8Sabotage': {'dev', 'hardened'},
    'change_constant': {'dev', 'hardened'},
    'check_acquire': {'dev'},
    '__cfi_': {'hardened'},
    '8Watchdog': {'dev', 'standard', 'hardened'},
    '__stack_chk_fail': {'dev', 'standard', 'hardened'},
}


def kernel(profile):
    return qemu.build_dir(profile) / 'keel.elf'


def symbols(profile):
    return subprocess.run(['nm', kernel(profile)], capture_output=True, text=True, check=True).stdout


def test_what_a_profile_leaves_out_is_not_in_its_kernel():
    for profile in ('dev', 'standard', 'hardened'):
        text = symbols(profile)
        for name, profiles in MECHANISMS.items():
            check((name in text) == (profile in profiles), f'{name} in the {profile} kernel')


@cases(profile=OTHERS)
def test_selftest(profile):
    with Guest(kernel=kernel(profile), append='selftest') as guest:
        guest.expect(r'Keel: \d+ MiB of memory')
        guest.expect_success()


@cases(profile=OTHERS)
def test_abi(profile):
    with Guest(smp=2, kernel=kernel(profile), initrd=qemu.build_dir(profile) / 'abi.img') as guest:
        guest.expect(r'abi: 0 of \d+ failed\n')
        guest.expect_success()


def settings(session):
    """name: value as kconfig shows it."""
    rows = [line.split() for line in session.run('kconfig').splitlines()]
    return {r[0]: r[1] for r in rows if len(r) > 5 and r[3] == 'to'}


@cases(profile=[*OTHERS, 'standard'])
def test_kconfig(profile):
    with Session(smp=2, kernel=kernel(profile), initrd=qemu.build_dir(PROFILE) / 'boot.img') as s:
        s.start()
        contains(s.run('kconfig'), f'profile {profile}, version 1')
        values = settings(s)
        check(values['watchdog_enabled'] == ('0' if profile == 'standard' else '1'), values)
        check((values['hash_kernel_text_enabled'] == 'absent') == (profile == 'standard'), values)
        # Stronger: allowed.
        contains(s.run('kconfig watchdog_timeout_ms 9000'), 'watchdog_timeout_ms: 9000 (was 10000)')
        contains(s.run('kconfig watchdog_timeout_ms'), ' 9000 ')
        contains(s.run('kconfig watchdog_enabled 1'), 'watchdog_enabled: 1 (was')
        # Weaker, wrong, unknown: not.
        if PROFILE != 'dev':
            contains(s.run('kconfig watchdog_timeout_ms 60000'), 'that takes the right weaken')
            contains(s.run('audit 1'), 'DENIED')
        contains(s.run('kconfig watchdog_timeout_ms 7'), '100 to 600000 is allowed')
        contains(s.run('kconfig nonsense'), 'nonsense')
        contains(s.run('kconfig a b c'), 'usage: kconfig')
        if profile == 'standard':
            contains(s.run('kconfig ram_scrubber_enabled 1'), 'does not have the mechanism')
            return
        # Everything on, and all still works, on the general way too.
        for name in ('ram_scrubber_enabled', 'hash_kernel_text_enabled', 'msg_header_checks_enabled', 'msg_payload_crc_enabled',
                     'invariants_sample_rate', 'msg_crc_sample_rate', 'hash_kernel_text_interval_sec'):
            contains(s.run(f'kconfig {name} 1'), f'{name}: 1 (was ')
        contains(s.run('ls /bin'), 'crash')
        contains(s.run('cat /etc/services.conf'), '[service shell]')
        for _ in range(120):
            found = re.search(r'done: ([1-9]\d*) pages read, ([1-9]\d*) comparisons', s.run('kconfig'))
            if found:
                break
            s.run('sleep 1')
        check(found, 'the mechanisms do nothing')
        contains(s.run('kconfig'), 'found: 0 places of free memory changed, 0 messages changed on their way')


@cases(what=['canary', 'text', 'invariant', 'hang'])
def test_a_broken_kernel_panics(what):
    report = {
        'canary': r'KERNEL PANIC: a buffer on the stack was overrun in the function at ffffffff8[0-9a-f]+',
        'text': r"KERNEL PANIC: the kernel's code or constants were changed: page 2 of the image",
        'invariant': r'KERNEL PANIC: broken invariant: Scheduler I2',
        'hang': r'watchdog: CPU 0 has taken no interrupt for \d+ ms',
    }[what]
    with Guest(smp=2, kernel=kernel('hardened'), initrd=qemu.build_dir(PROFILE) / 'boot.img', append=f'break={what}') as guest:
        guest.expect(report)
        guest.expect(r'KERNEL PANIC on CPU 0: exception ' + ('2 ' if what == 'hang' else '6 '))
        guest.expect('backtrace')
        if guest.wait_exit() == qemu.EXIT_SUCCESS:
            raise GuestFailure('it ended well')


def test_spoilt_memory_is_found_and_left_alone():
    with Session(kernel=kernel('hardened'), initrd=qemu.build_dir(PROFILE) / 'boot.img', append='break=memory') as s:
        s.start()
        for _ in range(60):
            if 'found: 1 places of free memory changed' in s.run('kconfig'):
                break
            s.run('sleep 1')
        contains(s.run('log'), 'is free and was changed; it is not used any more')
        contains(s.run('echo works'), 'works')
