"""The HLS kernels in AMD's own tools: projects, tool selection, runs, reports, and the Verilog that comes out.

Nothing here needs the tools to be imported or tested; :func:`.tools.find` says when they are missing.
"""
