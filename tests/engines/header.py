# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) the kvshm authors
"""kvshm.h, as Python can compare it: what it declares, from its text, and the numbers that a C compiler makes of that.

Nothing of the header is passed over: a declaration of a kind that is not known here is an error.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from typing import Dict, List, NamedTuple, Tuple


class Member(NamedTuple):
    """A member of a struct: its type, or that of its items, if it is an array of a length (else "")."""

    type: str
    length: str


class Call(NamedTuple):
    """The types of a function's result and parameters, in order."""

    result: str
    parameters: Tuple[str, ...]


def _words(text: str) -> str:
    """A type or a declaration in one way of writing it: `const char *`, `void **`."""
    return re.sub(r"\* (?=\*)", "*", re.sub(r"\s*\*", " *", " ".join(text.split()))).strip()


def _named(declaration: str) -> Tuple[str, str]:
    """The name in a declaration, and what is before it."""
    match = re.fullmatch(r"(.*?)(\w+)", declaration.strip(), re.S)
    if not match or not match[1].strip():
        raise ValueError(f"what does this declare: {declaration!r}")
    return match[2], _words(match[1])


def _split(parameters: str) -> List[str]:
    """Parameters, at the commas that are in no parentheses."""
    parts, depth = [""], 0
    for char in parameters:
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return parts


def _parameter(text: str) -> str:
    """The type of a parameter: of a function's pointer without its name, of arrays that of their items' address."""
    text = re.sub(r"\(\*(\w+)\)\s*\[[^]]*\]$", r"*\1", text.strip())
    text, arrays = re.subn(r"\[[^]]*\]$", "", text)
    function = re.fullmatch(r"(.*)\(\*\w+\)\s*\((.*)\)", text, re.S)
    if function:
        return f"{_words(function[1])} (*)({', '.join(map(_parameter, _split(function[2])))})"
    return _words(_named(text)[1] + " *" * arrays)


def function(result: str, parameters: str) -> Call:
    """A function of that result and those parameters, as they are written."""
    listed = () if parameters.strip() == "void" else tuple(map(_parameter, _split(parameters)))
    return Call(_words(result), listed)


class Header:
    """What kvshm.h declares."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.constants: List[str] = []
        self.structs: Dict[str, Dict[str, Member]] = {}
        self.enums: Dict[str, List[str]] = {}
        self.callbacks: Dict[str, Call] = {}
        self.calls: Dict[str, Call] = {}
        with open(path, encoding="ascii") as file:
            text = re.sub(r"/\*.*?\*/", " ", file.read(), flags=re.S)
        text = re.sub(r"#ifdef __cplusplus.*?#endif", "", text, flags=re.S)
        self.constants += re.findall(r"^#define (\w+)[ \t]+\S", text, re.M)
        text = re.sub(r"^#.*$", "", text, flags=re.M)
        for statement in re.findall(r"(?:[^;{}]|\{[^{}]*\})+;|\S", text):
            self._read(" ".join(statement[:-1].split()))

    def _read(self, statement: str) -> None:
        """Reads one declaration."""
        if re.fullmatch(r"typedef struct (\w+) \1", statement):
            return
        match = re.fullmatch(r"struct (\w+) \{(.*)\}", statement)
        if match:
            self.structs[match[1]] = dict(map(self._member, match[2].strip().rstrip(";").split(";")))
            return
        match = re.fullmatch(r"enum (\w+) \{(.*)\}", statement)
        if match:
            self.enums[match[1]] = re.findall(r"(\w+) = ", match[2])
            if len(self.enums[match[1]]) != match[2].strip().rstrip(",").count(",") + 1:
                raise ValueError(f"an enumerator without a value: {statement}")
            return
        match = re.fullmatch(r"(typedef )?(.*?[ *])(kvshm_\w+)\((.*)\)", statement)
        if not match:
            raise ValueError(f"what does this declare: {statement!r}")
        (self.callbacks if match[1] else self.calls)[match[3]] = function(match[2], match[4])

    @staticmethod
    def _member(declaration: str) -> Tuple[str, Member]:
        """The name and the type of a member."""
        match = re.fullmatch(r"([^\[]*)(?:\[(.*)\])?", declaration.strip())
        if not match:
            raise ValueError(f"what does this declare: {declaration!r}")
        name, kind = _named(match[1])
        return name, Member(kind, match[2] or "")


def compiled(header: Header, directory: str) -> Dict[str, int]:
    """What this build's compiler ($KVSHM_TEST_CC) makes of it: the values of constants and enumerators by their names;
    sizes as `struct x`, offsets of members as `struct x.y`, lengths of those that are arrays as `struct x.y[]`."""
    numbers = {name: name for name in header.constants}
    numbers.update((name, name) for names in header.enums.values() for name in names)
    for name, members in header.structs.items():
        numbers[f"struct {name}"] = f"sizeof(struct {name})"
        for member, (_, length) in members.items():
            numbers[f"struct {name}.{member}"] = f"offsetof(struct {name}, {member})"
            if length:
                numbers[f"struct {name}.{member}[]"] = length
    prints = "".join(
        f'    printf("{"," if i else ""}\\"{name}\\": %lld", (long long)({value}));\n'
        for i, (name, value) in enumerate(numbers.items())
    )
    source, program = os.path.join(directory, "header.c"), os.path.join(directory, "header")
    with open(source, "w", encoding="ascii") as file:
        file.write(
            "#include <kvshm.h>\n#include <stdio.h>\n\nint main(void)\n{\n"
            f'    printf("{{");\n{prints}    printf("}}");\n    return 0;\n}}\n'
        )
    compiler = shlex.split(os.environ["KVSHM_TEST_CC"])
    subprocess.run([*compiler, "-I", os.path.dirname(header.path), "-o", program, source], check=True)
    found: Dict[str, int] = json.loads(subprocess.check_output([program]))
    return found
