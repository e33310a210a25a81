"""A simulated Zynq device for pynq, for machines without a board.

Nothing of pynq is changed and nothing is registered: :class:`bhvit_host.sim.device.SimDevice` is a pynq device on which
pynq's own Overlay, MMIO, allocate and DMA code run. Behind its registers is the Verilator simulation of the design that
was built, or its integer golden model.
"""
