# SPDX-License-Identifier: MIT
# Takes one HLS project through its steps: `vitis_hls -f run.tcl`, or `vitis-run --mode hls --tcl run.tcl`, which passes
# no arguments on. So what to do stands beside this script in settings.tcl:
#   project, top, part, period (ns), sources, testbench (files), data (files that the testbench reads), cflags, steps
# Every step ends with a line `BHVIT_STEP <name> PASS`, or `BHVIT_STEP <name> FAIL <reason>` and exit code 1.

set here [file dirname [file normalize [info script]]]
source [file join $here settings.tcl]
set flags "$cflags -I[file join $here include] -I$here"

proc run_step {name body} {
    puts "BHVIT_STEP $name BEGIN"
    if {[catch {uplevel #0 $body} reason]} {
        puts "BHVIT_STEP $name FAIL [join [split $reason \n] { }]"
        exit 1
    }
    puts "BHVIT_STEP $name PASS"
}

run_step setup {
    open_project -reset $project
    set_top $top
    foreach f $sources { add_files [file join $here $f] -cflags $flags }
    foreach f $testbench { add_files -tb [file join $here $f] -cflags $flags }
    foreach f $data { add_files -tb [file join $here $f] }
    open_solution -reset solution1 -flow_target vivado
    set_part $part
    create_clock -period $period -name default
}

foreach step $steps {
    switch -exact -- $step {
        csim { run_step csim { csim_design } }
        csynth { run_step csynth { csynth_design } }
        cosim { run_step cosim { cosim_design -rtl verilog -tool xsim -trace_level none } }
        export { run_step export { export_design -format ip_catalog -rtl verilog } }
        default { run_step $step { error "there is no step of this name" } }
    }
}
close_project
exit 0
