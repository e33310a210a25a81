"""Parsers of the vendor's reports, on texts in the form of UG1399 that other releases and other results have."""

from __future__ import annotations

import os

import pytest

from bhvit.finn_flow.hls.vitis import reports

from .vitis_stub import COSIM, CSYNTH


def xml(tmp_path, **changes):
    """A synthesis report in which texts are replaced."""
    text = CSYNTH.format(top="dut", part="xc7z020clg400-1", period="5.00", worst=18)
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    file = tmp_path / "dut_csynth.xml"
    file.write_text(text)
    return file


def test_synthesis_report(tmp_path):
    assert reports.csynth(xml(tmp_path)) == {
        "latency": {"min": 18, "avg": 18, "max": 18}, "interval": {"min": 19, "max": 19},
        "clock_ns": {"target": 5, "estimated": 2.913}, "version": "2023.2",
        "LUT": 417, "FF": 136, "BRAM_18K": 2, "URAM": 0, "DSP": 3}


def test_latency_that_depends_on_data_is_not_a_number(tmp_path):
    file = xml(tmp_path, **{"<Worst-caseLatency>18": "<Worst-caseLatency>undef", "<Interval-max>19": "<Interval-max>?"})
    found = reports.csynth(file)
    assert found["latency"] == {"min": 18, "avg": 18, "max": None} and found["interval"] == {"min": 19, "max": None}


def test_older_releases_say_dsp48e_and_know_no_uram(tmp_path):
    file = xml(tmp_path, **{"<DSP>3</DSP><URAM>0</URAM></Resources>": "<DSP48E>3</DSP48E></Resources>"})
    found = reports.csynth(file)
    assert found["DSP"] == 3 and found["URAM"] == 0


@pytest.mark.parametrize("text, why", [("<profile>", "no element found"), ("<profile/>", "no estimates"),
                                       ("", "no element found")])
def test_half_a_synthesis_report(tmp_path, text, why):
    file = tmp_path / "dut_csynth.xml"
    file.write_text(text)
    with pytest.raises(reports.ReportError, match="cannot be read") as e:
        reports.csynth(file)
    assert why in e.value.why


def test_cosimulation_report(tmp_path):
    file = tmp_path / "dut_cosim.rpt"
    file.write_text(COSIM.format(status="Pass"))
    assert reports.cosim(file) == {"status": "Pass", "latency": {"min": 20, "avg": 21, "max": 23},
                                   "interval": {"min": 21, "avg": 22, "max": 24}, "total_cycles": 69}
    one = "|   Verilog|      Pass|  259|  259|  259|  NA|  NA|  NA|   259|\n"  # one transaction: no interval
    file.write_text(one)
    assert reports.cosim(file)["interval"] == {"min": None, "avg": None, "max": None}
    file.write_text(one.replace("|   259|\n", "|\n"))  # releases before 2021 have no total
    assert reports.cosim(file)["total_cycles"] is None
    file.write_text(COSIM.format(status="Fail"))
    assert reports.cosim(file)["status"] == "Fail"
    file.write_text("|   Verilog|        NA|  NA|  NA|  NA|  NA|  NA|  NA|   NA|\n")
    with pytest.raises(reports.ReportError, match="has no row for Verilog"):
        reports.cosim(file)


def test_where_reports_lie(tmp_path):
    with pytest.raises(reports.ReportError, match="wrote no report"):
        reports.find(tmp_path, "syn/report/a.xml")
    for i, place in enumerate(["other/sol2/syn/report", "prj/solution1/syn/report", "work/hls/syn/report"]):
        (tmp_path / place).mkdir(parents=True)
        file = tmp_path / place / "a.xml"
        file.write_text("")
        os.utime(file, (1000 + i, 1000 + i))
        assert reports.find(tmp_path, "syn/report/a.xml") == file, "the known places come first, then the newest"
