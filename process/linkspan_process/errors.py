"""Why a process does not start.

StartError            one line that says what to do; the process ends with status 2
└── SettingError      a setting is unknown or has a bad value
"""


class StartError(Exception):
    """The process cannot start, and the message tells a person what to do about it."""


class SettingError(StartError):
    """A setting is unknown or its value is bad."""
