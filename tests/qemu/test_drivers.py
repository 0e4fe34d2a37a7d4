"""Device manager, block driver and console, each with a test program in the place of the service manager
(tests/system/drivers, tests/system/console): data, hostile clients, deaths of drivers and of the device manager."""
import array
import pathlib
import tempfile

from keel_qemu import Guest, cases
import qemu

DISK_BYTES = 16 << 20


def run_on_a_disk(machine, smp, options='', image='drivers', check=None):
    """Each 8-byte word of the disk holds its number."""
    with tempfile.TemporaryDirectory() as folder:
        disk = pathlib.Path(folder) / 'disk'
        with open(disk, 'wb') as file:
            array.array('Q', range(DISK_BYTES // 8)).tofile(file)
        extra = ['-drive', f'file={disk},format=raw,if=none,id=d0,snapshot=on',
                 '-device', 'virtio-blk-pci,disable-legacy=on,drive=d0' + options]
        with Guest(machine=machine, smp=smp, initrd=qemu.build_dir() / f'{image}.img', extra=extra) as guest:
            if check:
                return check(guest)
            guest.expect(r'1\.\.20\n')
            guest.expect_success()


@cases(machine=['q35', 'microvm'], smp=[1, 4])
def test_block_driver(machine, smp):
    run_on_a_disk(machine, smp)


# The interrupt line instead of messages; a device behind an IOMMU that asks for the feature; a short queue.
@cases(options=['vectors=0', 'iommu_platform=on', 'queue-size=64'])
def test_block_driver_with(options):
    run_on_a_disk('q35', 1, ',' + options)


@cases(machine=['q35', 'microvm'])
def test_console(machine):
    with Guest(machine=machine, initrd=qemu.build_dir() / 'console.img') as guest:
        guest.expect(r'type hello\n')
        guest.send('hello')
        guest.expect(r'press control-c\n')
        guest.process.stdin.write(b'\x03')
        guest.process.stdin.flush()
        guest.expect(r'type ahead\n')
        guest.send('ahead')
        for _ in range(20):
            guest.expect(r'^x{3699}\n')
        guest.expect(r'1\.\.9\n')
        guest.expect_success()


@cases(machine=['q35', 'microvm'], smp=[1, 4])
def test_storage_survives_its_drivers(machine, smp):
    """With the real manager; then ACPI powers the machine off."""
    def check(guest):
        guest.expect(r'storage: passed\n')
        assert guest.process.wait(60) == 0
    run_on_a_disk(machine, smp, image='storage', check=check)
