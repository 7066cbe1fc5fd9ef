"""ARM64: the compiler gives each function of ``atomics.h`` the instructions that keep its order.

The models of `test_memory_order` say what these orders suffice for; here is what becomes of them in
machine code, of each generation of the instruction set. The pairs then run under an emulator, which
keeps the order of the machine it runs on: that shows that the code works there, and no more.
"""

from __future__ import annotations

import re

import pytest
from exhaustive import HERE, run, tool
from litmus import SOURCE, orders_of

HEADER = SOURCE / "_core"
TEXT = (HEADER / "atomics.h").read_text()
ORDERS = orders_of(TEXT)
DECLARED = re.compile(r"^static inline (\w+) (fp_\w+)\(([^)]*)\)", re.MULTILINE)
# How code is made for a processor: as distributions do, for the first ones, for those with LSE.
TARGETS = {
    "outlined": ["-march=armv8-a", "-moutline-atomics"],
    "armv8.0": ["-march=armv8-a", "-mno-outline-atomics"],
    "armv8.1": ["-march=armv8.1-a"],
}
LOADS = {"relaxed": "ldr", "acquire": "ldar"}
STORES = {"relaxed": "str", "release": "stlr"}
PAIRS = {
    "relaxed": "ldxr stxr", "release": "ldxr stlxr", "acq_rel": "ldaxr stlxr",
    "seq_cst": "ldaxr stlxr",
}  # fmt: skip
SUFFIX = {"relaxed": "", "release": "l", "acq_rel": "al", "seq_cst": "al"}
OUTLINED = {"relaxed": "relax", "release": "rel", "acq_rel": "acq_rel", "seq_cst": "acq_rel"}


def wanted(name, target):
    """Instructions of one function that access memory or keep an order, in their order."""
    orders = ORDERS[name]
    if name == "fp_load_again":
        return ["dmb ishld", "ldar"]
    if "load" in name:
        return [LOADS[orders[0]]]
    if "store" in name:
        return [STORES[orders[0]]]
    kind, order = ("ldadd" if "add" in name else "cas"), orders[0]
    bytes_ = 4 if name.endswith("32") else 8
    fence = ["dmb ish"] if name == "fp_cas_total" else []
    if target == "outlined":
        return [f"__aarch64_{kind}{bytes_}_{OUTLINED[order]}", *fence]
    if target == "armv8.1":
        return [kind + SUFFIX[order], *fence]
    return [*PAIRS[order].split(), *fence]


def found(name, assembly):
    """The same, as the compiler made it."""
    body = re.search(rf"<of_{name}>:\n(.*?)\n\n", assembly + "\n\n", re.DOTALL)[1]
    seen = []
    for line in body.splitlines():
        parts = line.split("\t")
        operation, rest = parts[2].strip(), parts[3] if len(parts) > 3 else ""
        if operation == "dmb":
            seen.append(f"dmb {rest.strip()}")
        elif call := re.search(r"<(__aarch64_\w+)", rest):
            seen.append(call[1])
        elif re.match(r"(ld|st|cas|swp)", operation) and "sp" not in rest:
            seen.append(operation)
    return seen


@pytest.fixture(scope="module")
def machine_code(tmp_path_factory):
    """Function ``(*options) -> text``: every function of the header, disassembled."""
    place = tmp_path_factory.mktemp("arm64")
    lines = ['#include "atomics.h"']
    for result, name, parameters in DECLARED.findall(TEXT):
        names = ", ".join(re.findall(r"(\w+)(?:,|$)", parameters))
        give = "" if result == "void" else "return "
        lines.append(f"{result} of_{name}({parameters}) {{ {give}{name}({names}); }}")
    (place / "each.c").write_text("\n".join(lines) + "\n")

    def made(*options):
        compiler = [tool("aarch64-linux-gnu-gcc"), "-O2", "-w", *options, f"-I{HEADER}"]
        run(*compiler, "-shared", "-fPIC", "-o", "each.so", "each.c", cwd=place)
        return run(tool("aarch64-linux-gnu-objdump"), "-d", "each.so", cwd=place)

    return made


@pytest.mark.parametrize("target", TARGETS)
def test_each_function_is_the_instructions_that_keep_its_order(target, machine_code, finding):
    assembly = machine_code(*TARGETS[target])
    seen = {name: found(name, assembly) for name in ORDERS}
    assert seen == {name: wanted(name, target) for name in ORDERS}
    finding(f"arm64 {target}: " + ", ".join(f"{n}: {' '.join(i)}" for n, i in seen.items()))


def test_a_weaker_order_is_another_instruction(machine_code):
    """Negative control: every order of the header replaced by relaxed."""
    weaker = [f"-D__ATOMIC_{order}=0" for order in ("ACQUIRE", "RELEASE", "ACQ_REL", "SEQ_CST")]
    assembly = machine_code(*TARGETS["armv8.0"], *(f"-U{w[2:-2]}" for w in weaker), *weaker)
    for name, orders in ORDERS.items():
        if orders[0] != "relaxed":
            assert found(name, assembly) != wanted(name, "armv8.0"), name


@pytest.mark.parametrize("target", TARGETS)
def test_the_pairs_run_on_arm64(target, tmp_path):
    compiler = [tool("aarch64-linux-gnu-gcc"), "-O2", "-w", "-static", *TARGETS[target]]
    run(*compiler, f"-I{HEADER}", "-o", "races", HERE / "races.c", "-lpthread", cwd=tmp_path)
    output = run(tool("qemu-aarch64"), "./races", cwd=tmp_path)
    assert re.fullmatch(r"sum [1-9]\d*\n", output), output
