# The whole way from sources to bit file, hwh and reports. Run in the folder that holds settings.tcl:
#   vivado -mode batch -nojournal -log vivado.log -source tcl/run.tcl
# Any error ends Vivado with a code other than 0.
set here [file dirname [file normalize [info script]]]
source [file join $here .. settings.tcl]
foreach part {package_ip block_design implement} {
  source [file join $here $part.tcl]
}
set root [file normalize [file join $here ..]]
set repository [file join $root ip]
file mkdir $repository [file join $root reports]

foreach block $bhvit(blocks) {
  bhvit_package_ip $block $root $repository $bhvit(part)
}
bhvit_create_project $root $repository
bhvit_block_design_$bhvit(family)
bhvit_finish_block_design $root
bhvit_implement $root
puts "BHVIT DONE $bhvit(stem)"
