"""What ``faultplane doctor`` finds wrong, and what it does not mistake for wrong."""

from __future__ import annotations

import json
import os
import struct

import pytest

from faultplane import schema
from faultplane.cli import doctor
from faultplane.store.files import crc32

ELSEWHERE = """
import sys
from faultplane.store import location
location.SHARED_MEMORY = sys.argv[1]  # as on a host that has none, or another
from faultplane.cli import main
sys.exit(main(["doctor", "--json"]))
"""


def report_of(answer):
    (line,) = answer.lines
    return json.loads(line)


def test_a_host_on_which_nothing_was_recorded_yet_is_in_order(run_python, tmp_path):
    done = run_python(ELSEWHERE, tmp_path, FAULTPLANE_DIR=None, XDG_RUNTIME_DIR=None)
    report = json.loads(done.stdout)
    (place,) = report["directories"]
    assert place["path"] == f"{tmp_path}/faultplane-{os.geteuid()}"
    assert place["free_bytes"] > 0
    assert report["problems"] == []
    assert os.listdir(tmp_path) == []


def test_a_host_without_a_directory_to_share_is_not(run_python):
    done = run_python(
        ELSEWHERE, "/proc/nonexistent", FAULTPLANE_DIR=None, XDG_RUNTIME_DIR=None, check=False
    )
    assert done.returncode == 1
    (problem,) = json.loads(done.stdout)["problems"]
    assert "no shared directory" in problem


def test_a_domain_that_nobody_has_made_is_no_problem_unless_it_was_named(command, tmp_path):
    later = tmp_path / "later"
    text = command("doctor", "--directory", later).out
    assert "'default' was not found" in text
    assert "a process makes it when it calls init()" in text
    assert "Nothing is wrong." in text
    assert f"directory {later}, 0 B free" not in text
    for named in (
        command("doctor", "--directory", later, "--domain", "shop", status=1),
        command("doctor", "--directory", later, status=1, FAULTPLANE_DOMAIN="shop"),
    ):
        assert "! domain 'shop' was not found" in named.out
        assert named.out.count("was not found") == 1
        assert "Nothing is wrong." not in named.out


RECORDER = "import faultplane as fp; fp.init(); fp.record(ValueError(1))"
NONE = "! a process that calls init() here finds no storage: "


def listing(path):
    return sorted((str(one), one.stat().st_ino, one.stat().st_size) for one in path.rglob("*"))


def in_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    return tmp_path / "file"


def in_proc(tmp_path):
    return "/proc/nobody-makes-this"


def a_file_in_the_place_of_the_domain(tmp_path):
    (tmp_path / "base").mkdir(mode=0o700)
    (tmp_path / "base" / "default").write_text("")
    return tmp_path / "base"


def a_domain_that_others_may_write(tmp_path):
    (tmp_path / "base" / "default").mkdir(parents=True)
    (tmp_path / "base" / "default").chmod(0o777)
    return tmp_path / "base"


def a_link(tmp_path):
    (tmp_path / "there").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "there")
    return tmp_path / "link"


PLACES = [
    in_a_file, in_proc, a_file_in_the_place_of_the_domain, a_domain_that_others_may_write, a_link,
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_what_init_would_run_into_is_a_problem_and_nothing_stays(
    command, run_python, tmp_path, place
):
    where = str(place(tmp_path))
    before = listing(tmp_path)
    said = run_python(RECORDER, FAULTPLANE_DIR=where).stderr
    reason = said.partition("counted and kept nowhere: 1 error (")[2].partition(")\n")[0]
    assert reason
    told = command("doctor", status=1, FAULTPLANE_DIR=where).out
    assert reason in told.partition(NONE)[2]
    assert "a process makes it when it calls init()" not in told
    assert "Nothing is wrong" not in told
    assert listing(tmp_path) == before


def test_directories_that_cannot_be_made_are_tried_where_they_would_begin(command, tmp_path):
    (file := tmp_path / "file").write_text("")
    told = command("doctor", status=1, FAULTPLANE_DIR=f"{file}/a/b").out
    assert f"{NONE}{file}/a/b cannot be made: Not a directory\n" in told
    assert "Nothing is wrong." in command("doctor", FAULTPLANE_DIR=f"{tmp_path}/a/b").out
    assert os.listdir(tmp_path) == ["file"]


def test_a_domain_that_only_can_be_read_is_a_problem_to_a_service_and_none_to_a_reader(
    command, run_python, tmp_domain_dir
):
    run_python(RECORDER)
    (tmp_domain_dir / "default").chmod(0o777)
    before = listing(tmp_domain_dir)
    reason = f"{tmp_domain_dir}/default must not be writable by others, got mode 0777"
    assert f"{NONE}{reason}\n" in command("doctor", status=1).out
    told = command("doctor", "--directory", tmp_domain_dir, FAULTPLANE_DIR=None).out
    assert f"uid {os.geteuid()} can read this domain and not record into it: {reason}\n" in told
    assert "Nothing is wrong." in told
    assert listing(tmp_domain_dir) == before
    (tmp_domain_dir / "default").chmod(0o700)
    assert "record into" not in command("doctor", "--directory", tmp_domain_dir).out
    assert listing(tmp_domain_dir) == before


def test_a_directory_that_writers_pass_by_is_a_problem(run_python, tmp_path):
    here = tmp_path / f"faultplane-{os.geteuid()}"
    here.mkdir()
    for mode, told in ((0o777, 1), (0o700, 0)):
        here.chmod(mode)
        done = run_python(
            ELSEWHERE, tmp_path, FAULTPLANE_DIR=None, XDG_RUNTIME_DIR=None, check=False
        )
        problems = json.loads(done.stdout)["problems"]
        assert done.returncode == len(problems) == told
        assert all(f"{here} must not be writable by others" in text for text in problems)


def test_a_name_that_no_domain_can_have_is_a_usage_error(command):
    assert "domain must be" in command("doctor", "--domain", "a b", status=2).err


def test_switched_off_is_said(command):
    text = command("doctor", status=1, FAULTPLANE_DISABLED="1").out
    assert "! FAULTPLANE_DISABLED is set: nothing is recorded" in text


@pytest.mark.parametrize(
    ("source", "told"),
    [("__version__ = '0.0.1'", "0.0.1"), ("raise ImportError('undefined symbol')", "undefined")],
)
def test_native_kernels_that_cannot_be_used_are_named(command, tmp_path, source, told):
    (tmp_path / "faultplane_native.py").write_text(source)
    import faultplane

    path = os.pathsep.join([str(tmp_path), os.path.dirname(next(iter(faultplane.__path__)))])
    report = report_of(command("doctor", "--json", status=1, PYTHONPATH=path))
    assert report["native"] == ""
    (problem,) = report["problems"]
    assert told in problem


def test_rows_that_had_no_room_and_errors_without_storage_are_counted(
    command, run_python, tmp_domain_dir
):
    run_python("import faultplane as fp; fp.init(); fp.record(ValueError(1))")
    (store,) = (tmp_domain_dir / "default").iterdir()
    with open(store / "agg-0", "r+b") as file:
        # The first cells of the file are the reasons, in the order of their codes.
        for reason in schema.DROP_REASONS:
            if reason.name in ("no_space", "no_storage", "row_lost"):
                at = schema.AGGREGATE.size + (reason.code - 1) * 128
                file.seek(at + schema.CELL.offset["count"])
                file.write(struct.pack("<Q", 7000 + reason.code))
    text = command("doctor", status=1).out
    assert "! storage was full at times" in text
    assert "! some errors were counted while there was no storage" in text
    assert "! some rows were lost though storage was not full: " in text
    assert "rows not written: " in text
    assert text.count(" 7,00") == 3


def test_running_out_of_descriptors_is_not_called_a_full_disk(command, run_python, core_name):
    code = """
import os, resource
import faultplane as fp
fp.init()
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
taken = []
try:
    while True:
        taken.append(os.dup(1))
except OSError:
    pass
for _ in range(3):
    fp.record(ValueError(1))
os.closerange(taken[0], taken[-1] + 1)
"""
    run_python(code, core=core_name)
    text = command("doctor", status=1).out
    assert "! some rows were lost though storage was not full: " in text
    assert "(ulimit -n)" in text
    assert "storage was full" not in text


def test_a_store_from_before_the_last_start_is_named(command, build_store):
    store = build_store()  # by somebody who had no /proc to read the boot's id from
    assert "Nothing is wrong." in command("doctor").out
    data = bytearray((store.path / "registry").read_bytes())
    place, end = schema.REGISTRY.offset["boot_id"], schema.REGISTRY.offset["crc"]
    struct.pack_into("<16s", data, place, b"another boot's  ")
    struct.pack_into("<I", data, end, crc32(data[:end]))
    (store.path / "registry").write_bytes(data)
    text = command("doctor", status=1).out
    assert "! 1-cython is from before the last start of this host" in text


def test_owner_slots_that_run_out_are_told_before_they_have(command, run_python, tmp_domain_dir):
    code = """
import os, sys
import faultplane as fp
fp.init()
children = []
said, say = os.pipe()
hold, release = os.pipe()
for _ in range(int(sys.argv[1]) - 1):
    child = os.fork()
    if child == 0:
        os.close(release)
        os.write(say, b"x")
        os.read(hold, 1)
        os._exit(0)
    children.append(child)
for _ in children:
    os.read(said, 1)
import subprocess
words = [sys.executable, "-m", "faultplane", "doctor", "--json"]
print(subprocess.run(words, capture_output=True, text=True).stdout)
os.close(release)
for child in children:
    os.waitpid(child, 0)
"""
    for owners, warned in ((28, 0), (29, 1)):  # nine tenths of 32 are 28.8
        done = run_python(
            code, owners, FAULTPLANE_BUDGET_BYTES="2MiB", FAULTPLANE_DOMAIN=f"d{owners}"
        )
        report = json.loads(done.stdout)
        assert report["stores"][0]["owners_alive"] == owners
        told = [text for text in report["problems"] if f"{owners} of 32 owner slots" in text]
        assert len(told) == warned


def test_deaths_and_what_is_held_are_numbers_of_the_store(command, shop):
    report = report_of(command("doctor", "--json"))
    (store,) = report["stores"]
    assert report["deaths"] == 1
    assert store["owners_alive"] == 0
    assert store["bytes_held"] > store["segment_bytes"] > 0
    text = command("doctor").out
    assert "  1 death recorded\n" in text
    assert "0 processes alive of " in text


def test_one_of_a_thing_is_told_as_one(shop, tmp_domain_dir):
    report = doctor.examine(None, str(tmp_domain_dir))
    numbers = ("rows_retired", "segments_retired", "processes_hidden", "owners_alive")
    for number, told in (
        (1, ["1 death rec", "1 row retired in 1 segment,", "1 process could", "1 process alive"]),
        (2, ["2 deaths r", "2 rows retired in 2 segments,", "2 processes c", "2 processes alive"]),
    ):
        report["stores"][0].update(dict.fromkeys(numbers, number))
        report["deaths"] = number
        text = "\n".join(doctor.lines(report))
        assert [part for part in told if f" {part}" not in text] == []


def test_a_store_of_another_schema_says_what_to_do_and_errors_have_no_storage(
    command, run_python, tmp_domain_dir
):
    run_python("import faultplane as fp; fp.init(); fp.record(ValueError(1))")
    (store,) = (tmp_domain_dir / "default").iterdir()
    with open(store / "registry", "r+b") as file:
        data = bytearray(file.read(schema.REGISTRY.size))
        schema.REGISTRY.write(data, 0, schema_hash=1)
        crc = schema.REGISTRY.offset["crc"]
        struct.pack_into("<I", data, crc, crc32(data[:crc]))
        file.seek(0)
        file.write(data)
    advice = f"made it; use another domain, or rm -r {store} when no process uses it"
    assert advice in " ".join(command("doctor", status=1).out.split())
    code = """
import faultplane as fp
domain = fp.init()
for _ in range(3):
    fp.record(ValueError(1))
print([(row["reason"], row["count"]) for row in domain.drops_rows() if row["count"]])
"""
    assert run_python(code).stdout == "[('no_storage', 3)]\n"
    cured = "import os, shutil, sys; shutil.rmtree(sys.argv[1])\n"
    assert run_python(cured + code, store).stdout == "[]\n"
