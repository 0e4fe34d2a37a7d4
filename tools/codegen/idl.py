#!/usr/bin/env python3
"""Generates clients and servers from the interfaces in idl/: `idl.py OUTDIR` writes OUTDIR/idl/NAME.h,
`idl.py --docs DIR` the reference pages. Unchanged files are not touched.

    struct NAME { field: TYPE; ... }                      scalars only
    interface NAME NUMBER version N { METHOD ... }
    METHOD: KIND [waits] name(arg: TYPE, ...) [-> (result: TYPE, ...)];

KIND      idempotent  repeated by the client when the server dies of it
          once        PeerDied then; the request carries a number
          send        queued; no results, nobody waits; scalars only, at most seven words
waits     the server's handler is a coroutine and may answer later
TYPE      bool u8 u16 u32 u64 i64 status, string<N>, bytes<N>, cap KIND, a struct's name
Comments (//) before a declaration become its documentation. Methods are numbered from 1 in their order; a change of
anything but the end of the list raises the version. The form of messages is in user/runtime/wire.h."""
import glob
import os
import re
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from common import ROOT, camel, write

SCALARS = {'bool': 'bool', 'u8': 'u8', 'u16': 'u16', 'u32': 'u32', 'u64': 'u64', 'i64': 'i64', 'status': 'Status'}
TOKEN = re.compile(r'//[^\n]*|->|[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[{}():;,<>]|\s+|.', re.S)
MAX_CAPS = 4


class Type:
    def __init__(self, kind, name='', size=0, fields=()):
        self.kind, self.name, self.size, self.fields = kind, name, size, fields

    @property
    def words(self):  # of the fixed part
        return {'cap': 0, 'struct': len(self.fields)}.get(self.kind, 1)

    @property
    def data_words(self):
        return (self.size + 7) // 8

    @property
    def sized(self):
        return self.kind in ('string', 'bytes')

    def text(self):
        return {'cap': f'cap {self.name}', 'string': f'string<{self.size}>', 'bytes': f'bytes<{self.size}>'}.get(self.kind, self.name)

    def value(self):  # as an object of its own
        return {'scalar': SCALARS.get(self.name), 'struct': self.name, 'string': f'FixedString<{self.size}>',
                'bytes': f'FixedBytes<{self.size}>', 'cap': 'Cap'}[self.kind]

    def client_arg(self):
        return {'string': 'std::string_view', 'bytes': 'std::span<const std::byte>', 'cap': 'CapIndex',
                'struct': f'const {self.name}&'}.get(self.kind) or self.value()

    def server_arg(self, waits):
        if waits or self.kind in ('scalar', 'cap'):
            return self.value()
        return {'string': 'std::string_view', 'bytes': 'std::span<const std::byte>', 'struct': f'const {self.name}&'}[self.kind]

    def reply_value(self):
        return 'GivenCap' if self.kind == 'cap' else self.value()


class Field:
    def __init__(self, name, type_):
        self.name, self.type = name, type_


class Method:
    def __init__(self, number, name, kind, waits, args, results, doc):
        self.number, self.name, self.kind, self.waits = number, name, kind, waits
        self.args, self.results, self.doc = args, results, doc
        for side in (args, results):
            assert len({f.name for f in side}) == len(side), name
            assert len(caps(side)) <= MAX_CAPS, f'{name}: too many capabilities'
        if kind == 'send':
            assert not results and not waits and fixed(args) <= 8 and not caps(args) and not any(a.type.sized for a in args), name


class Interface:
    def __init__(self, name, number, version, doc):
        self.name, self.number, self.version, self.doc, self.methods = name, number, version, doc, []


def caps(fields):
    return [f for f in fields if f.type.kind == 'cap']


def fixed(fields):  # with the header or status
    return 1 + sum(f.type.words for f in fields)


def data_words(fields):
    return sum(f.type.data_words for f in fields if f.type.sized)


class Parser:
    def __init__(self, path, structs):
        self.path, self.structs, self.doc, self.used = path, structs, [], set()
        with open(path) as f:
            text = f.read()
        self.tokens, line = [], 1
        for token in TOKEN.findall(text):
            if not token.isspace():
                self.tokens.append((token, line))
            line += token.count('\n')
        self.at = 0

    def fail(self, message):
        line = self.tokens[min(self.at, len(self.tokens) - 1)][1] if self.tokens else 1
        sys.exit(f'{os.path.relpath(self.path, ROOT)}:{line}: {message}')

    def peek(self):
        while self.at < len(self.tokens) and self.tokens[self.at][0].startswith('//'):
            self.doc.append(self.tokens[self.at][0][2:].strip())
            self.at += 1
        return self.tokens[self.at][0] if self.at < len(self.tokens) else None

    def next(self):
        token = self.peek()
        if token is None:
            self.fail('the file ends too early')
        self.at += 1
        return token

    def expect(self, *wanted):
        token = self.next()
        if token not in wanted:
            self.at -= 1
            self.fail(f'expected {" or ".join(wanted)}, found {token}')
        return token

    def accept(self, wanted):
        if self.peek() == wanted:
            self.at += 1
            return True
        return False

    def name(self):
        token = self.next()
        if not re.fullmatch(r'[A-Za-z_]\w*', token):
            self.fail(f'expected a name, found {token}')
        return token

    def number(self):
        token = self.next()
        if not token.isdigit():
            self.fail(f'expected a number, found {token}')
        return int(token)

    def take_doc(self):
        self.peek()
        doc, self.doc = ' '.join(self.doc), []
        return doc

    def type(self):
        name = self.name()
        if name in self.structs:
            self.used.add(name)
        if name in SCALARS:
            return Type('scalar', name)
        if name in ('string', 'bytes'):
            self.expect('<')
            size = self.number()
            self.expect('>')
            return Type(name, size=size)
        if name == 'cap':
            return Type('cap', self.name())
        if name in self.structs:
            return Type('struct', name, fields=self.structs[name][0])
        self.fail(f'unknown type {name}')

    def fields(self, separator, end):
        fields = []
        while not self.accept(end):
            name = self.name()
            self.expect(':')
            fields.append(Field(name, self.type()))
            if separator == ';':
                self.expect(';')
            elif self.peek() != end:
                self.expect(',')
        return fields

    def method(self, number):
        doc = self.take_doc()
        kind = self.expect('idempotent', 'once', 'send')
        waits = self.accept('waits')
        name = self.name()
        self.expect('(')
        args = self.fields(',', ')')
        results = []
        if self.accept('->'):
            self.expect('(')
            results = self.fields(',', ')')
        self.expect(';')
        return Method(number, name, kind, waits, args, results, doc)

    def file(self):
        structs, interfaces = [], []
        while self.peek() is not None:
            doc = self.take_doc()
            if self.expect('struct', 'interface') == 'struct':
                name = self.name()
                self.expect('{')
                fields = self.fields(';', '}')
                self.doc = []
                if any(f.type.kind != 'scalar' for f in fields):
                    self.fail(f'struct {name}: scalars only')
                self.structs[name] = (fields, doc)
                structs.append(name)
            else:
                interface = Interface(self.name(), self.number(), 0, doc)
                self.expect('version')
                interface.version = self.number()
                self.expect('{')
                while not self.accept('}'):
                    interface.methods.append(self.method(len(interface.methods) + 1))
                interfaces.append(interface)
        return structs, interfaces, self.used - set(structs)


def comment(text, indent=''):
    """Wraps documentation into comment lines."""
    out, line = '', f'{indent}//'
    for word in text.split():
        if len(line) + 1 + len(word) > 118:
            out, line = out + line + '\n', f'{indent}//'
        line += ' ' + word
    return out + line + '\n' if text else ''


# ---- encoding and decoding statements; `base` is what field names hang off -----------------------------------------

def encode(fields, base):
    out = ''
    for f in fields:
        value = base(f)
        kind = f.type.kind
        if kind == 'struct':
            out += ''.join(f'out.word({to_word(s.type, f"{value}.{s.name}")}); ' for s in f.type.fields).rstrip() + '\n'
        elif kind == 'scalar':
            out += f'out.word({to_word(f.type, value)});\n'
        elif kind == 'cap':
            continue
        else:
            out += f'out.{"text" if kind == "string" else "bytes"}({value});\n'
    return out


def to_word(type_, value):
    return value if type_.name in ('u64',) else f'static_cast<u64>({value})'


def from_word(type_):
    if type_.name == 'bool':
        return 'in.boolean()'
    if type_.name == 'status':
        return 'in.status_value()'
    if type_.name in ('u64', 'i64'):
        return 'in.word()' if type_.name == 'u64' else 'static_cast<i64>(in.word())'
    return f'in.number<{type_.name}>()'


def decode(fields, target):
    out = ''
    for f in fields:
        to, kind = target(f), f.type.kind
        if kind == 'struct':
            out += ''.join(f'{to}.{s.name} = {from_word(s.type)}; ' for s in f.type.fields).rstrip() + '\n'
        elif kind == 'scalar':
            out += f'{to} = {from_word(f.type)};\n'
        elif kind != 'cap':
            out += f'in.bytes({to});\n'
    for f in caps(fields):
        out += f'{target(f)} = in.cap(ObjectKind::{f.type.name});\n'
    return out


def indent(text, by):
    return ''.join(' ' * by + line + '\n' if line else '\n' for line in text.splitlines())


# ---- headers --------------------------------------------------------------------------------------------------------

def struct_h(name, fields, doc):
    out = comment(doc) + f'struct {name} {{\n'
    return out + ''.join(f'  {f.type.value()} {f.name}{{}};\n' for f in fields) + '};\n\n'


def result_names(i, m):
    """Type of the results for the client and for the server."""
    if not m.results:
        return 'void', 'void'
    if len(m.results) == 1:
        return m.results[0].type.value(), m.results[0].type.reply_value()
    base = f'{i.name}{camel(m.name)}'
    return f'{base}Result', f'{base}Reply'


def result_structs(i, m):
    if len(m.results) < 2:
        return ''
    result, reply = result_names(i, m)
    out = struct_h(result, m.results, '')[:-1]
    if caps(m.results):
        out += f'struct {reply} {{  // what the server fills in\n'
        out += ''.join(f'  {f.type.reply_value()} {f.name}{{}};\n' for f in m.results) + '};\n'
    else:
        out += f'using {reply} = {result};\n'
    return out


def layout_checks(m):
    out = ''
    for what, fields in (('request', m.args), ('reply', m.results)):
        if fixed(fields) > 8 or data_words(fields):
            out += f'static_assert(wire::fits({fixed(fields)}, {data_words(fields)}), "{m.name}: the {what} does not fit");\n'
    return out


def client_method(i, m):
    result, _ = result_names(i, m)
    params = [f'{a.type.client_arg()} {a.name}' for a in m.args]
    head = f'wire::header({i.number}, {i.version}, {m.number})'
    if m.kind == 'once':
        head += ' | u64{wire::next_request_number()} << wire::kRequestShift'
    if m.kind == 'send':
        out = comment(m.doc, '  ') + f'  Result<void> {m.name}({", ".join(params)}) const {{\n    Message message;\n'
        out += f'    wire::Writer out(message, {head}, {fixed(m.args)});\n' + indent(encode(m.args, lambda f: f.name), 4)
        return out + '    return wire::post(port_, message);\n  }\n\n'
    params.append('Deadline deadline = kForever')
    out = comment(m.doc, '  ') + f'  Result<{result}> {m.name}({", ".join(params)}) const {{\n'
    for a in m.args:
        if a.type.sized:
            out += f'    if ({a.name}.size() > {a.type.size}) return Status::too_big;\n'
    out += '    Message message;\n'
    out += f'    const u64 header = {head};\n'
    out += f'    const Status status = wire::transact(port_, message, wire::Repeat::{m.kind}, deadline, [&] {{\n'
    out += f'      wire::Writer out(message, header, {fixed(m.args)});\n'
    out += indent(encode(m.args, lambda f: f.name), 6)
    out += ''.join(f'      out.copy({a.name});\n' for a in caps(m.args))
    out += '    });\n    if (status != Status::ok) return status;\n'
    out += f'    wire::Reader in(message, {fixed(m.results)}, {len(caps(m.results))});\n'
    if m.results:
        out += f'    Result<{result}> results{{std::in_place}};\n'
        single = len(m.results) == 1
        out += indent(decode(m.results, lambda f: '*results' if single and f.type.kind != 'struct' else f'(*results)' if single else f'results->{f.name}'), 4)
    out += '    if (in.finish() != Status::ok) return Status::corrupt;\n'
    return out + ('    return results;\n' if m.results else '    return {};\n') + '  }\n\n'


def client_h(i):
    out = comment(f'Calls the interface {i.name} at a port, which it does not own. Copies are cheap.')
    out += f'class {i.name}Client {{\n public:\n'
    out += f'  constexpr {i.name}Client() = default;\n'
    out += f'  constexpr explicit {i.name}Client(CapIndex port) : port_(port) {{}}\n'
    out += f'  constexpr CapIndex port() const {{ return port_; }}\n'
    out += '  constexpr explicit operator bool() const { return port_ != kNoCapability; }\n\n'
    out += '  // Checks that the server offers this version of the interface. Errors: version_mismatch, those of the call.\n'
    out += f'  static Result<{i.name}Client> connect(CapIndex port, Deadline deadline = kForever) {{\n'
    out += f'    const Result<void> agreed = wire::hello(port, wire::header({i.number}, {i.version}, wire::kHello), deadline);\n'
    out += f'    if (!agreed.has_value()) return agreed.error();\n    return {i.name}Client(port);\n  }}\n\n'
    out += ''.join(client_method(i, m) for m in i.methods)
    return out.rstrip('\n') + '\n\n private:\n  CapIndex port_ = kNoCapability;\n};\n\n'


def server_method(i, m):
    _, reply = result_names(i, m)
    params = ['Session session'] + [f'{a.type.server_arg(m.waits)} {a.name}' for a in m.args]
    outcome = 'void' if m.kind == 'send' else f'Task<Result<{reply}>>' if m.waits else f'Result<{reply}>'
    return comment(m.doc, '  ') + f'  virtual {outcome} {m.name}({", ".join(params)}) = 0;\n'


def argument(m, a):
    """How a decoded argument is handed to the handler."""
    if a.type.kind == 'cap' or (m.waits and a.type.kind != 'scalar'):
        return f'std::move({a.name})'
    return f'{a.name}.span()' if a.type.kind == 'bytes' else f'{a.name}.view()' if a.type.kind == 'string' else a.name


def encode_reply(m, name, to, fail):
    """Statements that write `name`, a Result, into the Message `to`."""
    if not m.results:
        return fail(f'{name}.status()') + '\n'
    out = f'if (!{name}.has_value()) return {fail(f"{name}.error()")}\n'
    out += f'wire::Writer out({to}, static_cast<u64>(Status::ok), {fixed(m.results)});\n'
    value = (lambda f: f'(*{name})' if f.type.kind == 'struct' else f'*{name}') if len(m.results) == 1 else (lambda f: f'{name}->{f.name}')
    return out + encode(m.results, value) + ''.join(f'out.give({value(f)});\n' for f in caps(m.results))


def server_dispatch(i, m):
    out = f'  void dispatch_{m.name}(Request& request) {{\n'
    for a in m.args:
        out += f'    {a.type.value()} {a.name}{{}};\n' if a.type.kind != 'bytes' else f'    {a.type.value()} {a.name};\n'
    out += f'    {{\n      wire::Reader in(request.message(), {fixed(m.args)}, {len(caps(m.args))});\n'
    out += indent(decode(m.args, lambda f: f.name), 6)
    out += '      const Status valid = in.finish();\n      if (valid != Status::ok) return request.answer(valid);\n    }\n'
    arguments = ', '.join(['request.session()'] + [argument(m, a) for a in m.args])
    if m.kind == 'send':
        return out + f'    {m.name}({arguments});\n    request.answer(Status::ok);\n  }}\n'
    if m.waits:
        moved = ', '.join(['request'] + [f'std::move({a.name})' if a.type.kind != 'scalar' else a.name for a in m.args])
        out += f'    if (!start(run_{m.name}({moved}))) return request.answer(Status::no_memory);\n'
        out += '    Deferred::settle(request);\n  }\n'
        params = ', '.join(['Request& request'] + [f'{a.type.value()} {a.name}' for a in m.args])
        out += f'  Task<void> run_{m.name}({params}) {{\n    Deferred deferred(request);\n'
        out += f'    auto result = co_await {m.name}({arguments});\n'
        out += '    deferred.finish([&](Message& reply) {\n' + indent(encode_reply(m, 'result', 'reply', lambda status: f'wire::answer(reply, {status});'), 6) + '    });\n  }\n'
        return out
    out += f'    auto result = {m.name}({arguments});\n'
    return out + indent(encode_reply(m, 'result', 'request.reply()', lambda status: f'request.answer({status});'), 4) + '  }\n'


def server_h(i):
    out = comment(f'Serves the interface {i.name}: derive from it, write the handlers, give it to a ServiceLoop. Arguments are '
                  'checked against the declaration; views are valid during the handler.')
    out += f'class {i.name}Server : public Server {{\n public:\n  {i.name}Server() : Server({i.number}) {{}}\n\n'
    out += ''.join(server_method(i, m) for m in i.methods)
    out += '\n  void dispatch(Request& request) final {\n'
    out += f'    if (request.method() == wire::kHello) return request.answer_hello({i.version});\n'
    out += f'    if (request.version() != {i.version}) return request.refuse(Status::version_mismatch);\n'
    out += '    switch (request.method()) {\n'
    for m in i.methods:
        out += f'      case {m.number}: return dispatch_{m.name}(request);\n'
    out += '      default: return request.refuse(Status::not_supported);\n    }\n  }\n\n'
    out += f' protected:\n  ~{i.name}Server() = default;\n\n private:\n'
    return out + '\n'.join(server_dispatch(i, m) for m in i.methods) + '};\n\n'


def header(stem, structs, interfaces, includes, all_structs):
    out = f'// Generated by tools/codegen/idl.py from idl/{stem}.idl. Do not edit.\n#pragma once\n\n'
    out += '#include <span>\n#include <string_view>\n#include <utility>\n\n#include "base/fixed.h"\n'
    out += ''.join(f'#include "idl/{i}.h"\n' for i in includes)
    out += '#include "user/runtime/server.h"\n\nnamespace keel {\n\n'
    for name in structs:
        out += struct_h(name, *all_structs[name])
    for i in interfaces:
        for m in i.methods:
            out += result_structs(i, m) + layout_checks(m)
        out += '\n' + comment(i.doc) + f'inline constexpr u32 k{i.name}Interface = {i.number};\ninline constexpr u32 k{i.name}Version = {i.version};\n\n'
        out += client_h(i) + server_h(i)
    return out + '}  // namespace keel\n'


def signature(m):
    args = ', '.join(f'{a.name}: {a.type.text()}' for a in m.args)
    results = ', '.join(f'{r.name}: {r.type.text()}' for r in m.results)
    return f'{m.name}({args})' + (f' -> ({results})' if results else '')


def docs(stem, structs, interfaces, all_structs):
    out = ''
    for i in interfaces:
        out += f'# {i.name}\n\nInterface {i.number}, version {i.version}. Generated by `make doc` from [idl/{stem}.idl](../../idl/{stem}.idl). {i.doc}\n\n'
        for m in i.methods:
            out += f'## {m.name}\n\n`{signature(m)}`\n\nMethod {m.number}, {m.kind}{", may answer later" if m.waits else ""}. {m.doc}\n\n'
    for name in structs:
        fields, doc = all_structs[name]
        out += f'## struct {name}\n\n{doc}\n\n' + ''.join(f'- `{f.name}`: {f.type.text()}\n' for f in fields) + '\n'
    return out.rstrip('\n') + '\n'


def main():
    structs, numbers, files, origin = {}, {}, [], {}
    for path in sorted(glob.glob(os.path.join(ROOT, 'idl', '*.idl'))):
        stem = os.path.splitext(os.path.basename(path))[0]
        files.append((stem, *Parser(path, structs).file()))
        origin.update({name: stem for name in files[-1][1]})
        for i in files[-1][2]:
            assert 0 < i.number < 256 and i.number not in numbers, f'{i.name}: number {i.number} is taken'
            numbers[i.number] = i
    if sys.argv[1] == '--docs':
        index = '# Interfaces between processes\n\nGenerated by `make doc` from [idl/](../../idl/).\n\n| number | interface | what it is for |\n|---|---|---|\n'
        for stem, names, interfaces, _ in files:
            write(os.path.join(sys.argv[2], stem + '.md'), docs(stem, names, interfaces, structs))
            for i in interfaces:
                index += f'| {i.number} | [{i.name}]({stem}.md) | {i.doc.split(". ")[0].rstrip(".")} |\n'
        return write(os.path.join(sys.argv[2], 'README.md'), index)
    for stem, names, interfaces, used in files:
        includes = sorted({origin[name] for name in used})
        write(os.path.join(sys.argv[1], 'idl', stem + '.h'), header(stem, names, interfaces, includes, structs))


main()
