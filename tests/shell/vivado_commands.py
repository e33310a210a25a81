"""Vivado commands that the scripts may use, with options, properties and pins (UG835, UG1118, UG994)."""

#: command -> (options with a value, options without, least and most other arguments)
COMMANDS = {
    "create_project": ({"-part"}, {"-force"}, 1, 2), "close_project": (set(), set(), 0, 0),
    "current_project": (set(), set(), 0, 0), "current_fileset": (set(), set(), 0, 0),
    "add_files": (set(), {"-norecurse"}, 1, 1), "update_compile_order": ({"-fileset"}, set(), 0, 0),
    "update_ip_catalog": (set(), set(), 0, 0), "set_property": ({"-dict"}, set(), 1, 3),
    "get_property": (set(), set(), 2, 2), "get_board_parts": (set(), {"-quiet", "-latest_file_version"}, 1, 1),
    "create_bd_design": (set(), set(), 1, 1), "create_bd_cell": ({"-type", "-vlnv"}, set(), 1, 1),
    "apply_bd_automation": ({"-rule", "-config"}, set(), 1, 1), "get_bd_cells": (set(), set(), 1, 1),
    "get_bd_pins": (set(), set(), 1, 1), "get_bd_intf_pins": (set(), set(), 1, 1),
    "get_bd_addr_spaces": (set(), set(), 1, 1), "get_bd_addr_segs": (set(), set(), 1, 1),
    "connect_bd_net": (set(), set(), 2, 2), "connect_bd_intf_net": (set(), set(), 2, 2),
    "assign_bd_address": ({"-offset", "-range", "-target_address_space"}, {"-force"}, 0, 1),
    "validate_bd_design": (set(), set(), 0, 0), "save_bd_design": (set(), set(), 0, 0),
    "get_files": (set(), set(), 1, 1), "generate_target": (set(), set(), 2, 2),
    "make_wrapper": ({"-files"}, {"-top"}, 0, 0), "get_runs": (set(), set(), 1, 1),
    "launch_runs": ({"-jobs", "-to_step"}, set(), 1, 1), "wait_on_run": (set(), set(), 1, 1),
    "open_run": (set(), set(), 1, 1), "report_timing_summary": ({"-max_paths", "-file"}, set(), 0, 0),
    "report_utilization": ({"-file"}, {"-hierarchical"}, 0, 0), "report_power": ({"-file"}, set(), 0, 0),
    "version": (set(), {"-short"}, 0, 0),
    "ipx::package_project": ({"-root_dir", "-vendor", "-library", "-taxonomy", "-set_current"}, {"-import_files"},
                             0, 0),
    "ipx::get_ports": ({"-of_objects"}, set(), 1, 1),
    "ipx::current_core": (set(), set(), 0, 0), "ipx::get_bus_interfaces": ({"-of_objects"}, {"-quiet"}, 1, 1),
    "ipx::associate_bus_interfaces": ({"-busif", "-clock", "-reset"}, set(), 1, 1),
    "ipx::get_memory_maps": ({"-of_objects"}, {"-quiet"}, 0, 1), "ipx::remove_memory_map": (set(), set(), 2, 2),
    "ipx::add_memory_map": (set(), set(), 2, 2), "ipx::add_address_block": (set(), set(), 2, 2),
    "ipx::add_register": (set(), set(), 2, 2), "ipx::add_field": (set(), set(), 2, 2),
    "ipx::add_bus_parameter": (set(), set(), 2, 2), "ipx::get_bus_parameters": ({"-of_objects"}, {"-quiet"}, 1, 1),
    "set_msg_config": ({"-id", "-new_severity"}, set(), 0, 0),
    "ipx::add_user_parameter": (set(), set(), 2, 2), "ipx::create_xgui_files": (set(), set(), 1, 1),
    "ipx::update_checksums": (set(), set(), 1, 1), "ipx::save_core": (set(), set(), 1, 1)}
#: kind of object -> properties that may be set; CONFIG.* of cells are checked by their prefix
PROPERTIES = {
    "project": {"board_part", "board_connections", "ip_repo_paths"}, "fileset": {"top"},
    "file": {"synth_checkpoint_mode"}, "run": {"strategy"},
    "core": {"name", "version", "display_name", "description", "supported_families", "core_revision"},
    "parameter": {"value_resolve_type", "value_format", "value"}, "bus": {"slave_memory_map_ref"},
    "port": {"driver_value"}, "busparameter": {"value"},
    "block": {"range", "width", "usage"}, "register": {"address_offset", "size", "access", "description"},
    "field": {"bit_offset", "bit_width", "access", "description"}}
#: pins and interfaces of Vivado's own IP, as its documentation names them (PG201, PG085/PG082, PG164, PG247)
IP = {
    "zynq_ultra_ps_e": ({"pl_clk0", "pl_resetn0", "maxihpm0_fpd_aclk", "saxihp0_fpd_aclk", "saxihp1_fpd_aclk",
                         "saxihp2_fpd_aclk", "saxihp3_fpd_aclk"},
                        {"M_AXI_HPM0_FPD", "S_AXI_HP0_FPD", "S_AXI_HP1_FPD", "S_AXI_HP2_FPD",
                         "S_AXI_HP3_FPD"}, "PSU__"),
    "processing_system7": ({"FCLK_CLK0", "FCLK_RESET0_N", "M_AXI_GP0_ACLK", "S_AXI_HP0_ACLK", "S_AXI_HP1_ACLK",
                            "S_AXI_HP2_ACLK", "S_AXI_HP3_ACLK"},
                           {"M_AXI_GP0", "S_AXI_HP0", "S_AXI_HP1", "S_AXI_HP2", "S_AXI_HP3"}, "PCW_"),
    "proc_sys_reset": ({"slowest_sync_clk", "ext_reset_in", "peripheral_aresetn", "interconnect_aresetn"}, set(), ""),
    "smartconnect": ({"aclk", "aresetn"}, {"S00_AXI", "S01_AXI", "M00_AXI", "M01_AXI", "M02_AXI"}, "NUM_")}
PARTS = {"xczu7ev-ffvc1156-2-e", "xczu9eg-ffvb1156-2-e", "xck26-sfvc784-2LV-c", "xczu3eg-sfvc784-2-e",
         "xc7z020clg400-1"}
