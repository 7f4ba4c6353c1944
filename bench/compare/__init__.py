"""Linkspan against what people run today, measured in one run: `python -m bench.compare`.

From below: `framing` reads bytes, `lines` keeps connections, `asking` says what is asked and checks
what comes back, `driving` keeps clients busy for a while and counts; `arms` starts the servers that
are compared; `course` lets them take turns, `benches` says in which loads; `pages` writes what was
found, with `aims` and `charts`. `regression` compares two versions of Linkspan the same way.
"""
