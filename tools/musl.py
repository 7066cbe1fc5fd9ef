"""Check that the compiled modules of a wheel need musl and Python alone: ``musl.py WHEEL``.

auditwheel checks what runs on the machine's own libc; this is for wheels of the other one. Run by
``tools/wheels.py``, whose environment has pyelftools.
"""

from __future__ import annotations

import io
import sys
import zipfile

from elftools.elf.elffile import ELFFile


def complaints(name: str, content: bytes) -> list[str]:
    """What keeps the shared object ``content`` from being loaded by a Python on musl."""
    elf = ELFFile(io.BytesIO(content))
    tags = list(elf.get_section_by_name(".dynamic").iter_tags())
    needed = {tag.needed for tag in tags if tag.entry.d_tag == "DT_NEEDED"}
    found = [f"needs {library}" for library in sorted(needed - {"libc.so"})]
    kinds = {tag.entry.d_tag for tag in tags}
    if "DT_VERNEED" in kinds:
        found.append("asks for versions of symbols, which musl does not have")
    if kinds & {"DT_RPATH", "DT_RUNPATH"}:
        found.append("brings a library path of its own")
    if "-linux-gnu" in name:
        found.append("has the file name of a module for glibc, which a Python on musl skips")
    for symbol in elf.get_section_by_name(".dynsym").iter_symbols():
        undefined = symbol.entry.st_shndx == "SHN_UNDEF"
        if undefined and symbol.name.startswith("__") and symbol.name.endswith("_chk"):
            found.append(f"was compiled with glibc's headers ({symbol.name})")
    return found


def main(wheel: str) -> int:
    """Say what is wrong with each module of ``wheel``; 1 if anything is."""
    failed = modules = 0
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.endswith(".so"):
                modules += 1
                for text in complaints(name, archive.read(name)):
                    print(f"{name} {text}", file=sys.stderr)
                    failed = 1
    print(f"{modules} compiled modules: {'refused' if failed else 'musl and Python suffice'}")
    return failed if modules else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
