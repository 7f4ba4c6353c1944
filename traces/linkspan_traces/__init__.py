"""The embedded trace backend: OTLP in, SQLite, a JSON API and a web page with waterfalls.

A process of its own, on loopback. It knows OpenTelemetry and the names that Linkspan's spans carry,
and works for any program that exports OTLP. Above lies the command line; below lie
`linkspan_process` and, for one function, `linkspan_contract`. Nothing of Linkspan imports it.
"""
