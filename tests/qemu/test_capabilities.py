"""Who may do what, on the real system: services that their manifests confine, and the shell's views of audit records and derivation
trees."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

from keel_qemu import Guest, Skipped, cases
import qemu

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from test_shell import MKE2FS, PROMPT, Session, check, contains, equal  # noqa: E402


@cases(smp=[1, 4])
def test_manifests_confine(smp):
    if MKE2FS is None:
        raise Skipped('needs mke2fs')
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder) / 'content'
        (root / 'closed').mkdir(parents=True)
        for name, mode in (('public', 0o644), ('secret', 0o600), ('closed/public', 0o644), ('closed', 0o700)):
            path = root / name
            if not path.is_dir():
                path.write_text(name)
            path.chmod(mode)
        disk = pathlib.Path(folder) / 'disk.img'
        subprocess.run([MKE2FS, '-q', '-t', 'ext2', '-d', root, disk, '8M'], check=True)
        with Guest(smp=smp, disk=disk, initrd=qemu.build_dir() / 'access.img') as guest:
            guest.expect(r"services.conf:\d+: 'net_raw': no service offers the network yet")
            guest.expect_success()


def test_audit():
    with Session() as s:
        s.start()
        contains(s.run('audit 1000'), 'grant     manager        to shell          port vfs: transfer derive inspect call send')
        s.run('overreach')
        last = s.run('audit 1').splitlines()
        check(re.search(r'DENIED +shell +system_power: MissingRight, kernel_control with rights: transfer derive inspect read$',
                        last[0]), last)
        check(re.match(r'1 of \d+ records; 0 older ones were overwritten$', last[1]), last)
        contains(s.run('audit nonsense'), 'usage: audit')
        # Follows until Ctrl-C.
        s.send('audit 0 --follow')
        s.expect_letters('follow\n')
        s.send('\x03')
        s.expect(PROMPT)


def test_capctl():
    with Session() as s:
        s.start()
        rows = s.run('capctl who-can vfs').splitlines()
        equal(rows[0].split(), ['process', 'pid', 'object', 'as', 'got', 'it', 'from', 'for', 'rights'])
        shell = next(r for r in rows if r.startswith('shell'))
        equal(shell.split(), ['shell', str(s.pid('shell')), 'port', 'vfs', 'shell', 'manager', '-', 'transfer', 'derive', 'inspect',
                              'call', 'send'])
        check(any(r.startswith('vfs ') and 'receive' in r for r in rows), rows)
        check(not any(r.startswith('ext2') for r in rows), rows)
        contains(s.run('capctl who-can io_ports'), '0x3f8-0x3ff')
        contains(s.run('capctl who-can /etc/services.conf'), 'is in port initfs')
        contains(s.run('capctl who-can nothing-of-that-name'), 'no path, service, process, kind or number')

        flow = s.run('capctl path manager shell')
        contains(flow, 'port vfs')
        contains(flow, 'kernel_control')
        contains(s.run('capctl path ext2 shell'), 'shell holds nothing that was derived from what ext2 holds')
        contains(s.run('capctl path nobody shell'), 'no such process')

        pid = s.pid('shell')
        console = next(r.split() for r in s.run(f'caps {pid}').splitlines() if 'receive' not in r and ' port ' in r and r.split()[3] == '0x8')
        told = s.run(f'capctl explain shell {console[0]}')
        for line in (r'^object +port \w', r'^rights +transfer derive inspect call send$', r'^badge +shell$', r'^ends in +-$',
                     r'^derived +0 capabilities', r'^from +shell \(0x', r'^ +manager \(0x[0-9a-f]+\) all$', r'^ +kernel$'):
            check(re.search(line, told, re.M), (line, told))
        contains(s.run('capctl explain shell 0x12345'), 'the process holds no such capability')
        contains(s.run('capctl'), 'usage: capctl')
