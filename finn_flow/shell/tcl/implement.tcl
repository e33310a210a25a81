# Synthesis, implementation, reports, and bit file and hwh with one stem.

proc bhvit_implement {root} {
  global bhvit
  set_property strategy $bhvit(strategy) [get_runs impl_1]
  foreach {run step} {synth_1 "" impl_1 write_bitstream} {
    if {$step eq ""} {
      launch_runs $run -jobs $bhvit(jobs)
    } else {
      launch_runs $run -to_step $step -jobs $bhvit(jobs)
    }
    wait_on_run $run
    if {[get_property PROGRESS [get_runs $run]] ne "100%"} {
      error "$run has failed: [get_property STATUS [get_runs $run]]"
    }
  }
  bhvit_check_memories $root
  open_run impl_1
  set reports [file join $root reports]
  report_timing_summary -max_paths 10 -file [file join $reports timing.rpt]
  report_utilization -file [file join $reports utilization.rpt]
  report_utilization -hierarchical -file [file join $reports hierarchy.rpt]
  report_power -file [file join $reports power.rpt]
  set bit [file join [get_property DIRECTORY [get_runs impl_1]] bhvit_wrapper.bit]
  file copy -force $bit [file join $root $bhvit(stem).bit]
  # the folder of generated files is called .gen since Vivado 2020.2, .srcs before
  set hwh [glob -nocomplain -directory [file join $root project] bhvit.gen/sources_1/bd/bhvit/hw_handoff/bhvit.hwh \
    bhvit.srcs/sources_1/bd/bhvit/hw_handoff/bhvit.hwh]
  if {[llength $hwh] == 0} {
    error "Vivado has written no hwh"
  }
  file copy -force [lindex $hwh 0] [file join $root $bhvit(stem).hwh]
  set f [open [file join $reports tool.txt] w]
  puts $f [version -short]
  close $f
  set f [open [file join $reports clock.txt] w]
  puts $f $bhvit(actual_mhz)
  close $f
}

# Every part is synthesized in a run of its own, where the severity that the project sets need not hold.
proc bhvit_check_memories {root} {
  foreach log [glob -nocomplain -directory [file join $root project] *.runs/*/runme.log] {
    set f [open $log]
    set said [read $f]
    close $f
    if {[regexp {[^\n]*could not open \$readmem[^\n]*} $said line]} {
      error "a memory would be zero: $line ($log)"
    }
  }
}
