#!/usr/bin/python3
"""abi.py OUTDIR: writes the headers that follow from the tables in abi/.

A file is only rewritten when its content changes, so that nothing is rebuilt in vain.
"""
import pathlib
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]


def write_if_changed(path, text):
    if path.exists() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def load(name):
    with open(ROOT / 'abi' / name, 'rb') as f:
        return tomllib.load(f)


def camel(name):
    return ''.join(word.capitalize() for word in name.split('_'))


def quoted(text):
    return '"' + text.replace('\\', '\\\\').replace('"', '\\"') + '"'


def status_header():
    rows = load('status.toml')['status']
    numbers = [row['number'] for row in rows]
    names = [row['name'] for row in rows]
    if len(set(numbers)) != len(rows) or len(set(names)) != len(rows):
        raise SystemExit('abi/status.toml: a name or number occurs twice')
    lines = ['// Generated from abi/status.toml.', '#pragma once', '', '#include "base/types.h"', '', 'namespace keel {', '',
             'enum class Status : u32 {']
    lines += [f'  {row["name"]} = {row["number"]},' for row in rows]
    lines += ['};', '']
    lines += [f'inline constexpr u32 kStatusCount = {max(numbers) + 1};', '']
    for function, value, otherwise in [('status_name', lambda row: camel(row['name']), 'Unknown'),
                                       ('status_text', lambda row: row['text'], 'This number is no status code.')]:
        lines += [f'constexpr const char* {function}(Status status) {{', '  switch (status) {']
        lines += [f'    case Status::{row["name"]}:\n      return {quoted(value(row))};' for row in rows]
        lines += ['  }', f'  return {quoted(otherwise)};', '}', '']
    lines += ['}  // namespace keel', '']
    return '\n'.join(lines)


def main():
    out = pathlib.Path(sys.argv[1])
    write_if_changed(out / 'abi' / 'status.h', status_header())


main()
