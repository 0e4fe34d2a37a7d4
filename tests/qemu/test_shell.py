"""The shell on the real image: commands, files on ext2 disks made by mke2fs, jobs, crashes, and services that are killed."""
import datetime
import functools
import hashlib
import os
import pathlib
import random
import re
import subprocess
import tempfile
import threading

from keel_qemu import LONG, Guest, GuestFailure, Skipped, cases

PROMPT = r'^keel> '
MKE2FS = next((p for p in ('/usr/sbin/mke2fs', '/sbin/mke2fs') if os.path.exists(p)), None)


class Session(Guest):
    def start(self):
        self.expect(PROMPT)
        return self

    def start_with(self, *patterns):
        """The prompt, when these have come, too, in whatever order: each may draw it again."""
        for pattern in (*patterns, r'ready in \d+ ms'):
            self.seen = 0
            self.expect(pattern, 600)
        self.seen = len(self.text)
        self.send('')
        return self.start()

    def run(self, line, timeout=60):
        """Runs a command; what it printed."""
        self.send(line)
        # A long line wraps, and output of others may come between the letters.
        self.expect_letters(line[-8:] + '\n', timeout)
        start = self.seen
        self.expect(PROMPT, timeout)
        return self.text[start:self.seen].rsplit('keel> ', 1)[0].strip('\n')

    def pid(self, name):
        found = re.search(rf'^\s*(\d+)  {re.escape(name)}\s', self.run('ps'), re.M)
        if not found:
            raise GuestFailure(f'ps shows no {name}')
        return int(found.group(1))

    def service(self, name):
        """The row of `services` as a dictionary."""
        rows = [line.split() for line in self.run('services').splitlines()]
        head = next(r for r in rows if 'restarts' in r)
        row = next(r for r in rows if r and r[0] == name)
        return dict(zip(head, row))


def check(condition, what):
    if not condition:
        raise GuestFailure(what)


def equal(found, wanted):
    check(found == wanted, f'{found!r} where {wanted!r} is due')


def contains(text, wanted):
    check(wanted in text, f'no {wanted!r} in {text[-400:]!r}')


lock = threading.RLock()


def made_once(function):
    """The result of the first call; tests run in parallel."""
    kept = functools.cache(function)

    @functools.wraps(function)
    def locked(*arguments):
        with lock:
            return kept(*arguments)
    return locked


@made_once
def directory():
    """Keeps the images until the tests end."""
    return tempfile.TemporaryDirectory()


@made_once
def content():
    """A folder with the files of all disks, and their checksums by name."""
    root = pathlib.Path(directory().name) / 'content'
    rng = random.Random(7)
    (root / 'deep/er/and/deeper').mkdir(parents=True)
    (root / 'many').mkdir()
    files = {'a.txt': b'hello from a disk\n', 'empty': b'', 'mid.bin': rng.randbytes(700_001), 'big.bin': rng.randbytes(20_000_003),
             'deep/er/and/deeper/leaf': rng.randbytes(4097), 'n' * 255: b'long name\n'}
    for name, data in files.items():
        (root / name).write_bytes(data)
    with open(root / 'holes', 'wb') as f:
        f.seek(5_000_000)
        f.write(b'x')
        f.truncate(9_000_000)
    files['holes'] = (root / 'holes').read_bytes()
    for i in range(700):
        (root / 'many' / f'file-with-a-rather-long-name-{i:05d}').write_text(str(i))
    (root / 'link').symlink_to('deep/er/and/deeper/leaf')
    (root / 'absolute').symlink_to('/disk/a.txt')
    (root / 'loop').symlink_to('loop')
    (root / 'dangling').symlink_to('nowhere')
    return root, {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}


@made_once
def image(block_bytes):
    if MKE2FS is None:
        raise Skipped('needs mke2fs')
    path = pathlib.Path(directory().name) / f'disk-{block_bytes}.img'
    subprocess.run([MKE2FS, '-q', '-t', 'ext2', '-b', str(block_bytes), '-L', f'disk{block_bytes}', '-d', content()[0], path, '64M'],
                   check=True)
    return path


def damaged(name, offset, data):
    path = pathlib.Path(directory().name) / name
    path.write_bytes(image(1024).read_bytes())
    with open(path, 'r+b') as f:
        f.seek(offset)
        f.write(data)
    return path


def test_commands_without_a_disk():
    with Session() as s:
        s.start()
        contains(s.run('help'), '  sha256sum PATH...')
        contains(s.run('help ls'), 'names in a directory')
        equal(s.run('echo one "two  three"'), 'one two  three')
        equal(s.run('cat /nope'), 'cat: /nope: not found')
        equal(s.run('cat /bin'), 'cat: /bin: is a directory')
        equal(s.run('cat /etc/services.conf/x'), 'cat: /etc/services.conf/x: not a directory')
        contains(s.run('nonsense'), 'no such command')
        contains(s.run('ls /disk'), '/disk cannot be used: no disk')
        contains(s.run('mounts'), 'no disk')
        contains(s.run('ls /'), 'disk/')
        contains(s.run('head -n 1 /etc/services.conf'), '#')
        equal(s.run('readlink /bin/ls'), 'tools')
        contains(s.run('stat /bin/../bin/tools'), 'file')
        contains(s.run('explain MissingRight'), 'lacks a right')
        contains(s.run('explain 15'), 'NotFound')
        contains(s.run('overreach'), 'lacks a right')
        explained = s.run('explain last')
        for wanted in ('system_power', 'kernel_control', 'power', 'services.conf'):
            contains(explained, wanted)
        contains(s.run('mem'), 'free')
        contains(s.run('uptime'), 'up 0:')
        # The machine's clock follows the host's, in UTC.
        shown = datetime.datetime.strptime(s.run('date'), '%Y-%m-%d %H:%M:%S UTC')
        off = abs(datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None) - shown)
        check(off < datetime.timedelta(days=1), f'date shows {shown}, {off} from the host')
        check(re.search(r'^prompt +[1-9]\d* ns, at work +[1-9]\d* ns$', s.run('uptime -n'), re.M), 'uptime -n')
        traced = s.run('trace echo traced')
        check(re.search(r'^0 \d+ run [1-9]', traced, re.M) and re.search(r'^0 \d+ call \d+ \d+ process_create Ok', traced, re.M), traced)
        contains(s.run('irq'), 'count')
        contains(s.run('log'), 'took over')
        equal(s.run('false'), '')
        contains(s.run('status'), '1')
        contains(s.run(f'caps {s.pid("shell")}'), 'notification')


@cases(block_bytes=[1024, 2048, 4096])
def test_files_agree_with_the_host(block_bytes):
    sums = content()[1]
    with Session(disk=image(block_bytes)) as s:
        s.start()
        for name, wanted in sums.items():
            equal(s.run(f'sha256sum /disk/{name}', 120), f'{wanted}  /disk/{name}')
        equal(s.run('cat /disk/a.txt'), 'hello from a disk')
        equal(s.run('cat /disk/absolute'), 'hello from a disk')
        contains(s.run('sha256sum /disk/link'), sums['deep/er/and/deeper/leaf'])
        contains(s.run('cat /disk/loop'), 'too many symbolic links')
        equal(s.run('cat /disk/dangling'), 'cat: /disk/dangling: not found')
        equal(s.run('cat /disk/../etc/../disk/deep/../a.txt'), 'hello from a disk')
        equal(s.run('cat /disk/a.txt/'), 'cat: /disk/a.txt/: not a directory')
        names = set(re.findall(r'file-with-a-rather-long-name-\d{5}', s.run('ls /disk/many')))
        equal(len(names), 700)
        contains(s.run('stat /disk/holes'), '9000000')
        contains(s.run('ls -l /disk'), 'link -> deep/er/and/deeper/leaf')
        contains(s.run('mounts'), f'disk{block_bytes}')


def test_one_trace_id_follows_a_command_through_the_services():
    with Session(disk=image(1024)) as s:
        s.start()
        pids = {name: s.pid(name) for name in ('shell', 'vfs', 'ext2')}
        s.run('cat /disk/a.txt')
        processes = {}
        for process, trace in re.findall(r'^\d+ \d+ (?:call|enter|run) (\d+) \d+ .* trace ([0-9a-f]+)$', s.run('trace cat /disk/a.txt'), re.M):
            processes.setdefault(trace, set()).add(int(process))
        equal(len(processes), 1)
        missing = [name for name, pid in pids.items() if pid not in next(iter(processes.values()))]
        check(not missing, f'no record of {missing} has the trace id of the command')


def test_unusable_disks_are_refused():
    for path, why in ((damaged('magic.img', 1024 + 56, b'\0\0'), 'bad magic'),
                      (damaged('extents.img', 1024 + 96, b'\x42\0\0\0'), 'extents'),
                      (damaged('huge.img', 1024 + 4, b'\xff\xff\xff\x7f'), 'blocks')):
        with Session(disk=path) as s:
            s.start()
            contains(s.run('ls /disk'), why)
            contains(s.run('mounts'), why)
            contains(s.run('log'), why)
            contains(s.run('ls /'), 'disk/')
            equal(s.service('ext2')['state'], 'ready')


def test_a_crash_is_alone():
    with Session() as s:
        s.start()
        before = {line.split()[0]: line.split()[2:4] for line in s.run('services').splitlines()[1:] if line.strip()}
        for how, report in (('divide', 'division error'), ('wild', 'bad write'), ('null', 'bad write'), ('stack', 'bad write'),
                            ('buffer', 'a buffer on the stack was overrun'),
                            ('execute', 'not code'), ('kernel', 'bad write'), ('illegal', 'illegal instruction'),
                            ('privileged', 'protection')):
            out = s.run(f'run /bin/crash {how}')
            contains(s.run('status'), 'died')
            lines = [line for line in s.run('log').splitlines() if 'crash: crash' in line]
            contains(lines[-1], report)
            check('survived' not in out, how)
        after = {line.split()[0]: line.split()[2:4] for line in s.run('services').splitlines()[1:] if line.strip()}
        equal(after, before)


def test_jobs():
    with Session() as s:
        s.start()
        pid = re.search(r'\[1\] (\d+)', s.run('crash spin &')).group(1)
        contains(s.run('jobs'), 'crash spin')
        contains(s.run(f'kill {pid}'), '[1] killed')
        check('spin' not in s.run('jobs'), 'the job is still there')
        s.run('sleep 1 &')
        contains(s.run('wait'), '[1] done')
        # Ctrl-C ends what runs in the foreground.
        s.send('sleep 1000')
        s.expect(r'sleep 1000\n')
        s.process.stdin.write(b'\x03')
        s.process.stdin.flush()
        s.expect(PROMPT)
        contains(s.run('status'), 'interrupted')
        contains(s.run('kill 99999'), 'kill: 99999: no such process')
        contains(s.run('kill x'), 'not a process number')


@cases(victim=['vfs', 'initfs', 'ext2', 'virtio-blk', 'devmgr', 'console', 'log'])
def test_a_killed_service_comes_back(victim):
    wanted = content()[1]['big.bin']
    with Session(disk=image(4096)) as s:
        s.start()
        s.run('sha256sum /disk/big.bin &')
        s.run(f'kill {s.pid(victim)}')
        s.run('wait', 120)
        contains(s.text, wanted)
        equal(s.run('cat /disk/a.txt'), 'hello from a disk')
        equal(s.service(victim)['restarts'], '1')
        contains(s.run('sha256sum /disk/mid.bin'), content()[1]['mid.bin'])


@cases(smp=[2, 4, 8, 16, 64] if LONG else [8, 64])
def test_a_session_on_many_cpus(smp):
    with Session(smp=smp, mem='512M', limit=900) as s:
        s.start_with(rf'{smp} CPUs run\n')
        contains(s.run('ps', 300), 'shell')
        contains(s.run('top -n 1', 300), f'{smp} CPUs, idle')
        for _ in range(4):
            s.run('crash spin &', 300)
        contains(s.run('ps', 300), 'crash')
        contains(s.run('echo usable', 300), 'usable')


@cases(icount=[False, True])
def test_much_output_is_no_storm(icount):
    """The emulated line is always ready for the next byte; its interrupts must not look like a device gone wild."""
    with Session(icount=icount).start() as s:
        for _ in range(8):
            s.run('help')
        check('storms' not in s.text, 'an interrupt was held back')


@cases(smp=[66])
def test_more_cpus_than_there_is_room_for(smp):
    with Session(smp=smp, mem='512M', limit=900) as s:
        s.expect('2 further CPUs are not used\n')
        s.expect(r'64 CPUs run\n', 600)


def test_numa():
    """Two nodes; top shows them."""
    nodes = [word for n in (0, 1) for word in ('-object', f'memory-backend-ram,id=m{n},size=256M',
                                               '-numa', f'node,nodeid={n},memdev=m{n},cpus={2 * n}-{2 * n + 1}')]
    with Session(smp=4, mem='512M', extra=[*nodes, '-numa', 'dist,src=0,dst=1,val=21']) as s:
        s.start_with(r'4 CPUs run\n')
        shown = s.run('top -n 1')
        contains(shown, 'node 0: 2 CPUs')
        contains(shown, 'node 1: 2 CPUs')


def test_the_shell_and_the_manager_come_back():
    with Session() as s:
        s.start()
        s.send(f'kill {s.pid("shell")}')
        s.expect(r'kill \d+\n')
        s.expect(PROMPT)
        equal(s.service('shell')['restarts'], '1')
        s.run(f'kill {s.pid("manager")}')
        contains(s.run('services'), 'restarts')
        equal(s.run('echo alive'), 'alive')


def test_groups():
    with Session(icount=True) as s:
        s.start()
        contains(s.run('group'), 'no groups')
        s.run('group create small')
        s.run('group create large')
        contains(s.run('group create large'), 'exists already')
        contains(s.run('group run none true'), 'no such group')
        contains(s.run('group run small ps'), 'is built in')
        s.run('group limit large weight=300')
        s.run('group run small crash spin &')
        s.run('group run large crash spin &')

        def table(text, first):
            rows = [line.split() for line in text.splitlines()]
            return [r for r in rows if len(r) >= 8 and r[0] not in (first, 'up')]
        s.run('sleep 2')
        used = {r[0]: float(r[4]) for r in table(s.run('group'), 'name')}
        check(2.7 < used['large'] / used['small'] < 3.3, used)
        rows = table(s.run('top -n 1'), 'thread')
        busy = [r for r in rows if r[2] == 'crash']
        equal({r[-1] for r in busy}, {'small', 'large'})
        check(rows.index(busy[0]) <= 1 and float(busy[0][5]) > 40, rows)
        check(any(r[1] == 'crash' and r[-1] == 'large' for r in table(s.run('ps'), 'pid')), 'ps')
        s.run('group limit large cpu=20% objects=10 memory=8M')
        s.run('sleep 1')
        row = next(r for r in table(s.run('group show large'), 'name') if r[0] == 'large')
        check(row[2] == '20%' and 15 < float(row[3]) < 25 and int(row[5]) > 5, row)
        contains(s.run('group run large true'), 'cannot start')  # it would need more objects
        contains(s.run('group remove large'), 'group kill')
        contains(s.run('group kill large'), '1 process killed')
        s.run('group limit large cpu=none objects=none')
        equal(s.run('group run large echo usable'), 'usable')
        equal(s.run('group remove large'), '')
        contains(s.run('group kill small'), '1 process killed')
        equal(s.run('group remove small'), '')
        s.send('top')
        s.expect(r'thread\s+pid')
        s.process.stdin.write(b'q')
        s.process.stdin.flush()
        s.expect(PROMPT)
        equal(s.run('echo fine'), 'fine')


def test_line_editing():
    with Session() as s:
        s.start()

        def type_keys(keys):
            s.process.stdin.write(keys.encode())
            s.process.stdin.flush()

        type_keys('ech\tx\x7fabc\x01\x05\r')  # completion, backspace, start and end of line
        s.expect(r'^abc\n')
        s.expect(PROMPT)
        type_keys('cat /et\tser\t | \x15ls /et\t\r')  # Ctrl-U; paths
        s.expect(r'^services.conf\n')
        s.expect(PROMPT)
        type_keys('\x1b[A\x1b[A\r')  # history
        s.expect(r'^abc\n')
        s.expect(PROMPT)
        type_keys('nonsense\x03')
        s.expect(PROMPT)
        equal(s.run('echo fine'), 'fine')


def test_poweroff():
    with Session() as s:
        s.start()
        s.send('poweroff')
        s.wait_exit()
