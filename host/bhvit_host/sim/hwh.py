"""The hardware handoff file of a simulated design: what Vivado writes beside a bitfile, as far as pynq reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

#: processing system: instance, IP, version, master port, base addresses of the slaves are in the settings
PROCESSORS = {"zynq-7000": ("processing_system7_0", "processing_system7", "5.5", "M_AXI_GP0"),
              "zynq-ultrascale": ("zynq_ultra_ps_e_0", "zynq_ultra_ps_e", "3.4", "M_AXI_HPM0_FPD")}


def _clock_parameters(platform: str, clock_mhz: float) -> dict[str, object]:
    """The parameters of the processing system that pynq looks up; clock 0 is in use."""
    found: dict[str, object] = {}
    for i in range(4):
        on = int(i == 0)
        if platform == "zynq-7000":
            found |= {f"PCW_FPGA_FCLK{i}_ENABLE": on, f"PCW_FCLK{i}_PERIPHERAL_DIVISOR0": 5,
                      f"PCW_FCLK{i}_PERIPHERAL_DIVISOR1": 2, f"PCW_FCLK{i}_PERIPHERAL_CLKSRC": "IO PLL",
                      f"PCW_ACT_FPGA{i}_PERIPHERAL_FREQMHZ": clock_mhz if on else 10.0}
        else:
            found |= {f"PSU__FPGA_PL{i}_ENABLE": on, f"PSU__CRL_APB__PL{i}_REF_CTRL__DIVISOR0": 10,
                      f"PSU__CRL_APB__PL{i}_REF_CTRL__DIVISOR1": 1, f"PSU__CRL_APB__PL{i}_REF_CTRL__SRCSEL": "IOPLL",
                      f"PSU__CRL_APB__PL{i}_REF_CTRL__ACT_FREQMHZ": clock_mhz}
    return found


def _parameters(values: dict[str, object]) -> str:
    return "<PARAMETERS>" + "".join(f"<PARAMETER NAME={quoteattr(k)} VALUE={quoteattr(str(v))}/>"
                                    for k, v in values.items()) + "</PARAMETERS>"


def _registers(block: dict[str, Any]) -> str:
    def prop(name: str, value: object) -> str:
        return f"<PROPERTY NAME={quoteattr(name)} VALUE={quoteattr(str(value))}/>"

    def access(text: str) -> str:
        return "read-only" if text == "ro" else "read-write"

    lines = ['<ADDRESSBLOCKS><ADDRESSBLOCK INTERFACE="s_axi" NAME="reg0" USAGE="register"><REGISTERS>']
    for name, r in block["registers"].items():
        lines.append(f"<REGISTER NAME={quoteattr(name)}>" + prop("DESCRIPTION", r["doc"])
                     + prop("ADDRESS_OFFSET", hex(r["offset"])) + prop("SIZE", 32) + prop("ACCESS", access(r["access"]))
                     + prop("IS_ENABLED", "true") + "<FIELDS>")
        lines += [f"<FIELD NAME={quoteattr(n)}>" + prop("DESCRIPTION", f["doc"]) + prop("BIT_OFFSET", f["lsb"])
                  + prop("BIT_WIDTH", f["width"]) + prop("ACCESS", access(f["access"])) + "</FIELD>"
                  for n, f in r["fields"].items()]
        lines.append("</FIELDS></REGISTER>")
    return "".join([*lines, "</REGISTERS></ADDRESSBLOCK></ADDRESSBLOCKS>"])


def hwh(settings: dict[str, Any]) -> str:
    """The text of the file for the settings of a package (the data of settings.json)."""
    instance, ip, version, master = PROCESSORS[settings["platform"]]
    blocks = settings["registers"]["blocks"]
    slaves = [(i["name"], blocks[block], i["base"]) for block, i in settings["instances"].items()]
    widths = {f"c_m_axi_{c}_data_width": settings["data_width"] for c in ("mm2s", "s2mm")}
    out = ['<?xml version="1.0"?><EDKSYSTEM><SYSTEMINFO NAME="bhvit"/><EXTERNALPORTS/><EXTERNALINTERFACES/><MODULES>',
           f'<MODULE FULLNAME="/{instance}" INSTANCE="{instance}" IS_PL="FALSE" MODTYPE="{ip}" '
           f'VLNV="xilinx.com:ip:{ip}:{version}">', _parameters(_clock_parameters(settings["platform"],
                                                                                  settings["clock_mhz"])),
           f'<PORTS/><BUSINTERFACES><BUSINTERFACE NAME="{master}" TYPE="MASTER" '
           'VLNV="xilinx.com:interface:aximm:1.0"/></BUSINTERFACES><MEMORYMAP>']
    out += [f'<MEMRANGE ADDRESSBLOCK="reg0" BASEVALUE="0x{base:08X}" HIGHVALUE="0x{base + b["span"] - 1:08X}" '
            f'INSTANCE={quoteattr(name)} MASTERBUSINTERFACE="{master}" MEMTYPE="REGISTER" SLAVEBUSINTERFACE="s_axi"/>'
            for name, b, base in slaves]
    out.append("</MEMORYMAP></MODULE>")
    for name, b, _ in slaves:
        parameters = {**b["parameters"], **(widths if b["parameters"] else {})}
        out.append(f'<MODULE FULLNAME={quoteattr("/" + name)} INSTANCE={quoteattr(name)} '
                   f'MODTYPE={quoteattr(b["vlnv"].split(":")[2])} VLNV={quoteattr(b["vlnv"])}>' + _registers(b)
                   + _parameters(parameters) + '<PORTS/><BUSINTERFACES><BUSINTERFACE NAME="s_axi" TYPE="SLAVE" '
                   'VLNV="xilinx.com:interface:aximm:1.0"/></BUSINTERFACES></MODULE>')
    return "".join([*out, "</MODULES></EDKSYSTEM>\n"])


#: first line of the file that stands in for a bitfile
MARK = b"SIMULATED BITSTREAM: not for a board\n"


def write(folder: Path, settings: dict[str, Any], design: bytes, stem: str = "simulated") -> Path:
    """Write STEM.hwh, and STEM.bit that only the simulated device takes. design: JSON, see :mod:`design`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{stem}.hwh").write_text(hwh(settings))
    bit = folder / f"{stem}.bit"
    bit.write_bytes(MARK + design)
    return bit
