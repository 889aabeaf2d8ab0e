"""Errors of the contract. Every error a person may see derives from `TinymlError` and reads as one sentence."""

from pathlib import Path


class TinymlError(Exception):
    """Something a person can act on; the command line prints it as one sentence and exits with status 2."""


class DecodeError(TinymlError):
    """Bytes that are not a message of this contract."""

    def __init__(self, sentence: str, offset: int = 0) -> None:
        super().__init__(sentence)
        self.offset = offset  # where the item begins in which the trouble is


class TruncatedError(DecodeError):
    """The bytes end in the middle of an item."""


class EncodeError(TinymlError):
    """A message holds a value that the contract cannot carry."""


class TopicError(TinymlError):
    """A topic or an identifier in it does not follow the contract."""


class TooLargeError(TinymlError):
    """A message is larger than the broker takes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"a packet of {size} bytes is larger than the {limit} that the broker takes")
        self.size, self.limit = size, limit


class SettingsError(TinymlError):
    """A setting is unknown, missing or of the wrong type."""


class JournalError(TinymlError):
    """A journal cannot be read or written."""


class ExportFileError(TinymlError):
    """A file is not the whole export of a device's records, or cannot be written as one."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class ReceiptError(TinymlError):
    """A file is no whole receipt for records that were carried to the server."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class ListenError(TinymlError):
    """A port cannot be listened on."""


class BrokerProcessError(TinymlError):
    """A broker on this machine cannot be found or does not start."""


class MissingExtraError(TinymlError):
    """A part was not installed that this command needs."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} is not installed; install tinymlops[{extra}]")
        self.extra = extra


class SendError(TinymlError):
    """What people want of a device cannot be sent to it."""


class RefusedError(TinymlError):
    """The broker answered and refused; trying again without a change will not help."""

    def __init__(self, sentence: str, code: int = 0) -> None:
        super().__init__(sentence)
        self.code = code
