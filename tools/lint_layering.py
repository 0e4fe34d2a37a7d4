#!/usr/bin/python3
"""Checks what the compiler cannot: include directions, where machine-specific code may stand, reasons for unsafe lines, links.

    abi <- base <- kernel            abi <- base <- user/runtime <- user/{services,drivers,fs} <- user/apps
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
MIDDLE = ['user/services', 'user/drivers', 'user/fs']
# Folder -> folders that it may include from. The longest matching folder counts; idl/ holds generated interface headers.
ALLOWED = {
    'abi': ['abi'],
    'idl': ['abi', 'base', 'idl'],
    'base': ['abi', 'base'],
    'kernel': ['abi', 'base', 'kernel'],
    'user/runtime': ['abi', 'base', 'idl', 'user/runtime'],
    'user/services': ['abi', 'base', 'idl', 'user/runtime', *MIDDLE],
    'user/drivers': ['abi', 'base', 'idl', 'user/runtime', *MIDDLE],
    'user/fs': ['abi', 'base', 'idl', 'user/runtime', *MIDDLE],
    'user': ['abi', 'base', 'idl', 'user'],
    'tests': ['abi', 'base', 'idl', 'kernel', 'user', 'tests'],
}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
# Only arch/ may say these inside the kernel (law 10); base/ wraps the first in Atomic<T>.
MACHINE_ONLY = re.compile(r'\bstd::atomic\b|#\s*include <atomic>|\b_*asm(_*|\s+volatile)?\s*\(|\b__builtin_ia32_\w+|\b__?rdtscp?\b|\b_mm_pause\b')
UNSAFE = re.compile(r'\breinterpret_cast\b|\b_*asm_*\b(\s+volatile)?\s*\(')
SAFETY = re.compile(r'//.*SAFETY')
SAFETY_REACH = 6  # lines before an unsafe line in which its reason may stand
UNSAFE_SHARE = 0.05
LINK = re.compile(r'\[[^\]]*\]\(([^)\s]+)\)')


def listed(*endings):
    names = subprocess.run(['git', 'ls-files', '--cached', '--others', '--exclude-standard'], cwd=ROOT, capture_output=True, text=True,
                           check=True).stdout.splitlines()
    return [name for name in names if name.endswith(endings) and (ROOT / name).is_file()]


def folder_of(name, folders):
    matches = [f for f in folders if name.startswith(f + '/')]
    return max(matches, key=len) if matches else None


def without_comment(line):
    return re.sub(r'//.*', '', re.sub(r'"(\\.|[^"\\])*"', '""', line))


class Checker:
    def __init__(self):
        self.problems = []
        self.kernel_lines = 0
        self.unsafe_lines = 0

    def report(self, name, number, text):
        self.problems.append(f'{name}:{number}: {text}')

    def source(self, name):
        lines = (ROOT / name).read_text().splitlines()
        folder = folder_of(name, ALLOWED)
        in_kernel = name.startswith('kernel/')
        in_arch = name.startswith('kernel/arch/')
        # Host files and tests are not part of the product: they use what the host offers.
        last = name.split('/')[-1]
        product = (not name.startswith('kernel/arch/host/') and not last.endswith(('_test.cc', '_test.h', '_fuzz.cc'))
                   and not last.startswith('test_'))
        # One SAFETY comment "(all of this file)" covers a file whose every line has the same reason.
        whole_file = any('SAFETY (all of this file)' in line for line in lines)
        for number, line in enumerate(lines, 1):
            included = INCLUDE.match(line)
            if included and folder is not None:
                target = folder_of(included.group(1), list(ALLOWED))
                if target is None:
                    self.report(name, number, f'"{included.group(1)}" is not a path from the root of the project')
                elif folder == 'abi' and included.group(1) == 'base/types.h':
                    pass  # integers with a meaning: the one thing that the tables need
                elif not any(target == a or target.startswith(a + '/') for a in ALLOWED[folder]):
                    self.report(name, number, f'{folder} must not include from {target}')
                elif included.group(1).startswith('kernel/arch/') and in_kernel and not in_arch:
                    self.report(name, number, 'portable code includes <arch/...>, not one architecture')
            code = without_comment(line)
            if not in_kernel or not product:
                continue
            if code.strip():
                self.kernel_lines += 1
            if not in_arch and MACHINE_ONLY.search(code):
                self.report(name, number, 'only base/ and kernel/arch/ may do this: ' + code.strip())
            if UNSAFE.search(code):
                self.unsafe_lines += 1
                nearby = lines[max(0, number - 1 - SAFETY_REACH):number]
                if not whole_file and not any(SAFETY.search(l) for l in nearby):
                    self.report(name, number, 'unsafe line without a SAFETY comment')

    def links(self, name):
        for number, line in enumerate((ROOT / name).read_text().splitlines(), 1):
            for target in LINK.findall(line):
                if re.match(r'[a-z]+:', target) or target.startswith('#'):
                    continue
                if not ((ROOT / name).parent / target.split('#')[0]).exists():
                    self.report(name, number, f'link to {target}, which does not exist')


def main():
    checker = Checker()
    for name in listed('.cc', '.h'):
        checker.source(name)
    for name in listed('.md'):
        checker.links(name)
    # A small kernel is mostly boot code; the share means something once there is a kernel.
    if checker.kernel_lines > 1500 and checker.unsafe_lines > UNSAFE_SHARE * checker.kernel_lines:
        checker.problems.append(f'{checker.unsafe_lines} unsafe lines of {checker.kernel_lines}: more than {UNSAFE_SHARE:.0%} of the kernel')
    for problem in checker.problems:
        print(problem)
    share = checker.unsafe_lines / max(1, checker.kernel_lines)
    print(f'layering: {checker.unsafe_lines} unsafe of {checker.kernel_lines} kernel lines ({share:.1%}), {len(checker.problems)} problems')
    return 1 if checker.problems else 0


sys.exit(main())
