"""The deployment package of a toy build."""

from __future__ import annotations


def test_self_test(package, in_host):
    r = in_host(package / "self_test.py")
    print(r.stdout, r.stderr)
    assert r.returncode == 0 and r.stdout.splitlines()[-1] == "PASS"
