"""Commands for gdb on a Keel that runs or stands still (`make debug` loads this):

    keel-threads     every thread: its process, what it does or waits for, at which CPU it is and on which it runs
    keel-cpus        every CPU: its thread, what is ready, its mailbox, its next timer
"""
import gdb


def number(value):
    return int(value.cast(gdb.lookup_type('unsigned long')))


def innermost(value):
    """What an Atomic<T> holds."""
    while value.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT:
        value = value[value.type.strip_typedefs().fields()[0]]
    return value


def machine():
    gdb.execute('set max-value-size unlimited')
    storage = gdb.parse_and_eval("&'keel::arch::(anonymous namespace)::machine_storage'")
    return storage.cast(gdb.lookup_type('keel::Machine').pointer()).dereference()


def offset_of(type_name, member):
    for field in gdb.lookup_type(type_name).fields():
        if field.name == member:
            return field.bitpos // 8
    raise gdb.GdbError(f'{type_name} has no {member}')


def tree(core, type_name, member):
    offset = offset_of(type_name, member)
    element = gdb.lookup_type(type_name).pointer()

    def walk(hook):
        if number(hook) == 0:
            return
        yield from walk(hook['left_'])
        yield gdb.Value(number(hook) - offset).cast(element)
        yield from walk(hook['right_'])
    yield from walk(core['root_'])


def linked(head, type_name, member):
    offset = offset_of(type_name, member)
    element = gdb.lookup_type(type_name).pointer()
    hook = head['next_']
    while number(hook) != number(head.address):
        yield gdb.Value(number(hook) - offset).cast(element)
        hook = hook['next_']


def name_of(process):
    return process['name_']['text'].string().rstrip('\0')


def cpu_index(pointer):
    return int(pointer['index']) if number(pointer) != 0 else '-'


def enumerator(value):
    return str(value).rsplit('::', 1)[-1]


def describe(thread):
    text = enumerator(thread['phase']['status'])
    if text == 'waiting':
        kind = enumerator(thread['phase']['wait'])
        text = 'waits: ' + kind
        if bool(thread['phase']['fault']):
            text += ' (fault)'
        if kind in ('send', 'receive', 'notification'):
            target = thread['wait']['object']
            if kind == 'receive' and number(thread['serves']) != 0:
                target = thread['serves']
            text += f' {number(target):#x}'
            if number(target) != 0:
                base = target.cast(gdb.lookup_type('keel::KObject').pointer())
                text += f' (cpu {cpu_index(innermost(base["home_"]))})'
    return text


class Threads(gdb.Command):
    __doc__ = 'Lists every thread of every process.'

    def __init__(self):
        super().__init__('keel-threads', gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        for process in tree(machine()['processes_']['core_'], 'keel::Process', 'list_hook'):
            state = int(innermost(process['state_']))
            print(f'process {int(process["id_"])} {name_of(process)} (state {state}) {number(process):#x}')
            for t in linked(process['threads_']['head_'], 'keel::Thread', 'process_hook'):
                peers = ''.join(f' {what} {int(t[what]["id_"])}' for what in ('caller', 'callee', 'lender', 'borrower')
                                if number(t[what]) != 0)
                print(f'  thread {int(t["id_"])} {describe(t)}, flags {int(innermost(t["flags"])):#x}, at cpu '
                      f'{cpu_index(innermost(t["home_"]))} of {cpu_index(t["run_on"])}, call {int(t["state"]["rax"]) & 0xff} '
                      f'of {int(t["state"]["rdi"]):#x}{peers} {number(t):#x}')


class Cpus(gdb.Command):
    __doc__ = 'Shows what each CPU does.'

    def __init__(self):
        super().__init__('keel-cpus', gdb.COMMAND_STATUS)

    def invoke(self, argument, from_tty):
        m = machine()
        for i in range(int(innermost(m['cpu_count']))):
            cpu = m['cpus'][i].dereference()
            current = cpu['current']
            work = cpu['work']
            print(f'cpu {i}: thread {int(current["id_"]) if number(current) else "-"}, ready {int(innermost(cpu["scheduler"]["count_"]))}, '
                  f'mail {number(innermost(work["mail_"])):#x}, inbox {number(work["inbox_"]["head"]):#x}, background '
                  f'{number(work["background_"]["head"]):#x}, timer {int(cpu["timer_set_ns"]):#x}, grace pending '
                  f'{int(innermost(cpu["grace"]["pending_"]))} under way {bool(cpu["grace"]["under_way_"])}, {number(m["cpus"][i]):#x}')


Threads()
Cpus()
