"""Generated files are what the generator writes, byte for byte."""

from __future__ import annotations

import subprocess
import sys


def test_generated_files_are_current(root):
    done = subprocess.run(
        [sys.executable, "tools/generate.py", "--check"], cwd=root, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_check_sees_one_changed_byte(root, tmp_path):
    """Negative control: a copy with one byte changed is reported, and only that file."""
    sys.path.insert(0, str(root / "tools"))
    try:
        import generate
    finally:
        sys.path.remove(str(root / "tools"))
    for name, build in generate.OUTPUTS.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(build())
    assert generate.stale(tmp_path) == []
    target = tmp_path / "src/faultplane/_core/layout.h"
    target.write_text(target.read_text().replace("OWNER_SIZE 512", "OWNER_SIZE 513"))
    assert generate.stale(tmp_path) == ["src/faultplane/_core/layout.h"]
