"""The front door: the `linkspan` command.

`main` reads the command line; `supervisor` runs a session server and a worker as child processes;
`greeting` says what they serve and how to reach it. The only package that knows both services, and
it knows them only by their settings and their `run`.
"""
