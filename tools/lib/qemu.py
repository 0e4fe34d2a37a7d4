"""The QEMU command line for Keel, shared by `make run` and the tests."""
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The guest writes this value to the debug-exit port when all is well; QEMU then exits with 2 * value + 1.
EXIT_SUCCESS = 33


def build_dir(profile='standard'):
    return ROOT / 'build' / f'x86_64-{profile}'


def sample_disk():
    """The disk of tools/sample_disk, made when it is missing or older than that program."""
    disk, maker = ROOT / 'build' / 'sample-disk.img', ROOT / 'tools' / 'sample_disk'
    if not disk.exists() or disk.stat().st_mtime < maker.stat().st_mtime:
        subprocess.run([str(maker), str(disk)], check=True)
    return disk


def qemu_command(*, machine='q35', smp=1, mem='256M', kernel, initrd=None, append='', disk=None, disk_readonly=False,
                 icount=False, gdb=False, serial='mon:stdio', extra=()):
    machines = {'q35': 'q35', 'microvm': 'microvm,acpi=on,pcie=on,isa-serial=on'}
    command = ['qemu-system-x86_64', '-M', machines.get(machine, machine), '-cpu', 'max,pku=off', '-m', str(mem), '-smp', str(smp),
               '-kernel', str(kernel), '-nodefaults', '-no-user-config', '-nographic', '-serial', serial, '-no-reboot',
               '-device', 'isa-debug-exit,iobase=0xf4,iosize=4']
    if serial != 'mon:stdio':
        command += ['-monitor', 'none']
    if initrd and pathlib.Path(initrd).exists():
        command += ['-initrd', str(initrd)]
    if append:
        command += ['-append', append]
    if disk:
        # A comma in a file name is written twice in QEMU options.
        name = str(disk).replace(',', ',,')
        mode = 'readonly=on' if disk_readonly else 'snapshot=on'
        command += ['-drive', f'file={name},format=raw,if=none,id=d0,{mode}',
                    '-device', 'virtio-blk-pci,disable-legacy=on,drive=d0']
    if icount:
        command += ['-icount', 'shift=0,sleep=off']
    if gdb:
        command += ['-s', '-S']
    return command + list(extra)
