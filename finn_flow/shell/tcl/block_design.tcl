# The block design: processing system, DMA, control block, accelerator, the feeder where constants come from outside, and
# the interconnect between them. The connections among dma_0, control_0, feeder_0 and accelerator_0 are those of the
# simulated shell (finn_flow/shell/wiring.py; a test compares them).

proc bhvit_create_project {root repository} {
  global bhvit
  create_project -force bhvit [file join $root project] -part $bhvit(part)
  # a memory image that is not found is only a warning by default, and the memory is zero
  set_msg_config -id {[Synth 8-4445]} -new_severity ERROR
  if {$bhvit(board_part) ne ""} {
    set found [get_board_parts -quiet -latest_file_version $bhvit(board_part)]
    if {[llength $found] == 0} {
      error "Vivado has no board files for $bhvit(board_part): install them, or name their folder in board.repoPaths"
    }
    set_property board_part [lindex $found 0] [current_project]
    if {$bhvit(board_connections) ne ""} {
      set_property board_connections $bhvit(board_connections) [current_project]
    }
  }
  set_property ip_repo_paths $repository [current_project]
  update_ip_catalog
  # memory images are looked up by their names in the sources of the project, too
  foreach f $bhvit(memories) {
    add_files -norecurse [file join $root $f]
  }
  create_bd_design bhvit
}

# Interconnects of the feeder and their masters: one for each memory port (wiring.py spreads the masters).
proc bhvit_feeding {} {
  set found {}
  foreach masters $::bhvit(feeder_ports) {
    lappend found feeder_interconnect_[expr {[llength $found] / 2}] $masters
  }
  return $found
}

# Cells of the accelerator and its shell, and all connections that do not depend on the processing system.
proc bhvit_cells {clock} {
  global bhvit
  foreach {cell vlnv} [list dma_0 $bhvit(dma_vlnv) control_0 $bhvit(control_vlnv) \
      accelerator_0 $bhvit(accelerator_vlnv)] {
    create_bd_cell -type ip -vlnv $vlnv $cell
  }
  create_bd_cell -type ip -vlnv xilinx.com:ip:proc_sys_reset reset_0
  set interconnects [list control_interconnect 1 [expr {$bhvit(feeder) ? 3 : 2}] dma_interconnect 2 1]
  foreach {cell masters} [bhvit_feeding] {
    lappend interconnects $cell [llength $masters] 1
  }
  foreach {cell from to} $interconnects {
    create_bd_cell -type ip -vlnv xilinx.com:ip:smartconnect $cell
    set_property -dict [list CONFIG.NUM_SI $from CONFIG.NUM_MI $to] [get_bd_cells $cell]
  }
  connect_bd_intf_net [get_bd_intf_pins dma_0/m_axis] [get_bd_intf_pins accelerator_0/in0_V]
  connect_bd_intf_net [get_bd_intf_pins accelerator_0/out0_V] [get_bd_intf_pins dma_0/s_axis]
  foreach pin {drain clear} {
    connect_bd_net [get_bd_pins control_0/$pin] [get_bd_pins dma_0/$pin]
  }
  foreach pin {drained in_beat out_beat mm2s_failed s2mm_failed} {
    connect_bd_net [get_bd_pins dma_0/$pin] [get_bd_pins control_0/$pin]
  }
  connect_bd_net [get_bd_pins control_0/accel_rst_n] [get_bd_pins accelerator_0/ap_rst_n]
  connect_bd_intf_net [get_bd_intf_pins control_interconnect/M00_AXI] [get_bd_intf_pins dma_0/s_axi]
  connect_bd_intf_net [get_bd_intf_pins control_interconnect/M01_AXI] [get_bd_intf_pins control_0/s_axi]
  # one of them only reads, the other only writes: a port carries both at full speed
  connect_bd_intf_net [get_bd_intf_pins dma_0/m_axi_mm2s] [get_bd_intf_pins dma_interconnect/S00_AXI]
  connect_bd_intf_net [get_bd_intf_pins dma_0/m_axi_s2mm] [get_bd_intf_pins dma_interconnect/S01_AXI]
  foreach pin {dma_0/ap_clk control_0/ap_clk accelerator_0/ap_clk reset_0/slowest_sync_clk control_interconnect/aclk
      dma_interconnect/aclk} {
    connect_bd_net $clock [get_bd_pins $pin]
  }
  foreach pin {dma_0/ap_rst_n control_0/ap_rst_n} {
    connect_bd_net [get_bd_pins reset_0/peripheral_aresetn] [get_bd_pins $pin]
  }
  foreach cell {control_interconnect dma_interconnect} {
    connect_bd_net [get_bd_pins reset_0/interconnect_aresetn] [get_bd_pins $cell/aresetn]
  }
  if {$bhvit(feeder)} {
    bhvit_feeder $clock
  }
}

# The feeder: constants from memory to the accelerator, and what DMA and control block have to know of it.
proc bhvit_feeder {clock} {
  global bhvit
  create_bd_cell -type ip -vlnv $bhvit(feeder_vlnv) feeder_0
  foreach pin {drain clear} {
    connect_bd_net [get_bd_pins control_0/$pin] [get_bd_pins feeder_0/$pin]
  }
  foreach pin {loader_status weights_open weights_failed} {
    connect_bd_net [get_bd_pins feeder_0/$pin] [get_bd_pins control_0/$pin]
  }
  connect_bd_net [get_bd_pins feeder_0/hold] [get_bd_pins dma_0/hold]
  if {$bhvit(load)} {
    connect_bd_net [get_bd_pins feeder_0/load] [get_bd_pins accelerator_0/load]
  }
  foreach stream $bhvit(weight_streams) {
    connect_bd_intf_net [get_bd_intf_pins feeder_0/$stream] [get_bd_intf_pins accelerator_0/$stream]
  }
  connect_bd_intf_net [get_bd_intf_pins control_interconnect/M02_AXI] [get_bd_intf_pins feeder_0/s_axi]
  foreach {cell masters} [bhvit_feeding] {
    set i 0
    foreach master $masters {
      connect_bd_intf_net [get_bd_intf_pins feeder_0/$master] [get_bd_intf_pins $cell/[format S%02d_AXI $i]]
      incr i
    }
    connect_bd_net $clock [get_bd_pins $cell/aclk]
    connect_bd_net [get_bd_pins reset_0/interconnect_aresetn] [get_bd_pins $cell/aresetn]
  }
  connect_bd_net $clock [get_bd_pins feeder_0/ap_clk]
  connect_bd_net [get_bd_pins reset_0/peripheral_aresetn] [get_bd_pins feeder_0/ap_rst_n]
}

# The clock that the dividers of the processing system give. What was asked for is a register of the design and in every
# report, so the two must agree.
proc bhvit_check_clock {ps property} {
  global bhvit
  set bhvit(actual_mhz) [get_property CONFIG.$property $ps]
  if {![string is double -strict $bhvit(actual_mhz)]} {
    error "the processing system does not say its clock in $property"
  }
  if {abs($bhvit(actual_mhz) - $bhvit(clock_mhz)) > 0.01 * $bhvit(clock_mhz)} {
    error "the dividers of the processing system give $bhvit(actual_mhz) MHz, not $bhvit(clock_mhz):\
      ask for a clock that they give, e.g. bhvit bitstream --clock $bhvit(actual_mhz)"
  }
}

# Zynq UltraScale+: control over M_AXI_HPM0_FPD, the DMA's memory over S_AXI_HP0_FPD, the feeder's over S_AXI_HP1_FPD to
# S_AXI_HP3_FPD, as many as it needs.
proc bhvit_block_design_zynq_ultra {} {
  global bhvit
  set ps [create_bd_cell -type ip -vlnv xilinx.com:ip:zynq_ultra_ps_e zynq_ultra_ps_e_0]
  if {$bhvit(board_part) ne ""} {
    apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config {apply_board_preset 1} $ps
  }
  set_property -dict [list \
    CONFIG.PSU__USE__M_AXI_GP0 1 CONFIG.PSU__USE__M_AXI_GP1 0 CONFIG.PSU__USE__M_AXI_GP2 0 \
    CONFIG.PSU__USE__S_AXI_GP2 1 CONFIG.PSU__SAXIGP2__DATA_WIDTH $bhvit(axi_bits) \
    CONFIG.PSU__USE__IRQ0 0 CONFIG.PSU__USE__IRQ1 0 \
    CONFIG.PSU__FPGA_PL0_ENABLE 1 CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ $bhvit(clock_mhz)] $ps
  bhvit_check_clock $ps PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ
  set clock [get_bd_pins zynq_ultra_ps_e_0/pl_clk0]
  bhvit_cells $clock
  foreach pin {maxihpm0_fpd_aclk saxihp0_fpd_aclk} {
    connect_bd_net $clock [get_bd_pins zynq_ultra_ps_e_0/$pin]
  }
  set i 1
  foreach {cell masters} [bhvit_feeding] {
    set gp [expr {$i + 2}]
    set_property -dict [list CONFIG.PSU__USE__S_AXI_GP$gp 1 CONFIG.PSU__SAXIGP${gp}__DATA_WIDTH $bhvit(axi_bits)] $ps
    connect_bd_net $clock [get_bd_pins zynq_ultra_ps_e_0/saxihp${i}_fpd_aclk]
    incr i
  }
  connect_bd_net [get_bd_pins zynq_ultra_ps_e_0/pl_resetn0] [get_bd_pins reset_0/ext_reset_in]
  bhvit_ports zynq_ultra_ps_e_0 M_AXI_HPM0_FPD S_AXI_HP0_FPD {S_AXI_HP1_FPD S_AXI_HP2_FPD S_AXI_HP3_FPD}
  bhvit_addresses zynq_ultra_ps_e_0/Data 0xA0000000
}

# Zynq-7000: control over M_AXI_GP0, the DMA's memory over S_AXI_HP0, the feeder's over S_AXI_HP1 to S_AXI_HP3.
proc bhvit_block_design_zynq_7000 {} {
  global bhvit
  set ps [create_bd_cell -type ip -vlnv xilinx.com:ip:processing_system7 processing_system7_0]
  if {$bhvit(board_part) ne ""} {
    apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 \
      -config {make_external "FIXED_IO, DDR" apply_board_preset 1 Master Disable Slave Disable} $ps
  }
  set_property -dict [list \
    CONFIG.PCW_USE_M_AXI_GP0 1 CONFIG.PCW_USE_S_AXI_HP0 1 CONFIG.PCW_S_AXI_HP0_DATA_WIDTH $bhvit(axi_bits) \
    CONFIG.PCW_EN_CLK0_PORT 1 CONFIG.PCW_EN_RST0_PORT 1 CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ $bhvit(clock_mhz)] $ps
  bhvit_check_clock $ps PCW_ACT_FPGA0_PERIPHERAL_FREQMHZ
  set clock [get_bd_pins processing_system7_0/FCLK_CLK0]
  bhvit_cells $clock
  foreach pin {M_AXI_GP0_ACLK S_AXI_HP0_ACLK} {
    connect_bd_net $clock [get_bd_pins processing_system7_0/$pin]
  }
  set i 1
  foreach {cell masters} [bhvit_feeding] {
    set_property -dict [list CONFIG.PCW_USE_S_AXI_HP$i 1 CONFIG.PCW_S_AXI_HP${i}_DATA_WIDTH $bhvit(axi_bits)] $ps
    connect_bd_net $clock [get_bd_pins processing_system7_0/S_AXI_HP${i}_ACLK]
    incr i
  }
  connect_bd_net [get_bd_pins processing_system7_0/FCLK_RESET0_N] [get_bd_pins reset_0/ext_reset_in]
  bhvit_ports processing_system7_0 M_AXI_GP0 S_AXI_HP0 {S_AXI_HP1 S_AXI_HP2 S_AXI_HP3}
  bhvit_addresses processing_system7_0/Data 0x40000000
}

proc bhvit_ports {ps control dma feed} {
  connect_bd_intf_net [get_bd_intf_pins $ps/$control] [get_bd_intf_pins control_interconnect/S00_AXI]
  connect_bd_intf_net [get_bd_intf_pins dma_interconnect/M00_AXI] [get_bd_intf_pins $ps/$dma]
  foreach {cell masters} [bhvit_feeding] port $feed {
    if {$cell ne ""} {
      connect_bd_intf_net [get_bd_intf_pins $cell/M00_AXI] [get_bd_intf_pins $ps/$port]
    }
  }
}

# DMA at the base, control block and feeder each 64 KiB further; memory where the processing system has it.
proc bhvit_addresses {space base} {
  set i 0
  foreach cell [expr {$::bhvit(feeder) ? {dma_0 control_0 feeder_0} : {dma_0 control_0}}] {
    assign_bd_address -offset [format 0x%08X [expr {$base + 0x10000 * $i}]] -range $::bhvit(span) \
      -target_address_space [get_bd_addr_spaces $space] [get_bd_addr_segs $cell/s_axi/reg0] -force
    incr i
  }
  assign_bd_address
}

proc bhvit_finish_block_design {root} {
  validate_bd_design
  save_bd_design
  set bd [get_files bhvit.bd]
  # each part by itself: the copies of shared modules in these IPs must not meet
  set_property synth_checkpoint_mode Hierarchical $bd
  generate_target all $bd
  add_files -norecurse [make_wrapper -files $bd -top]
  set_property top bhvit_wrapper [current_fileset]
  update_compile_order -fileset sources_1
}
