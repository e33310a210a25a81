"""The shell around an accelerator: DMA, control registers, its simulation in AXI memory, and the way to a bitstream."""
