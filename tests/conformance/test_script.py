"""Both cores write the same bytes for the same script of operations."""

from __future__ import annotations

from pathlib import Path

SEED_MAX = 1 << 32


def test_both_cores_leave_the_same_bytes(child, both_cores, tmp_domain_dir, rng):
    seed = rng.randrange(SEED_MAX)
    print(f"script seed: {seed}")
    runs = child("python", "run_script", tmp_domain_dir, seed)
    assert runs >= 20


def test_the_comparison_sees_one_byte(child, both_cores, tmp_domain_dir, rng):
    """Negative control: a core whose rows differ in one flag is found out."""
    seed = rng.randrange(SEED_MAX)
    found = child("python", "run_script_with_a_fault", Path(tmp_domain_dir), seed)
    assert found == "segments"
