"""The servers that are compared: one set of tools, served by Linkspan and by what people run today.

`hosted` holds the tools; Linkspan and `sdk_server` serve it, `fastmcp_server` and `typescript.mjs`
serve the same in their own words. Each is a script that prints a ready line and ends with its
standard input. `BENCH_TOOLS` says how many tools there are in all.
"""
