"""Every error of ours, split by whose fault it is.

::

    AutoresearchError              str(error) is one sentence: what happened, and what to do
    ├── RecordError                the peer who sent a record
    │   ├── RecordTooLarge
    │   ├── MalformedRecord
    │   ├── BadSignature
    │   ├── WrongNetwork
    │   └── InvalidBody
    ├── StoreError                 the disk
    │   ├── DiskFull
    │   ├── StoreDamaged
    │   ├── NewerVersion
    │   ├── ForeignFile
    │   └── BlobMissing
    ├── ExperimentError            the experiment or what it needs
    │   ├── SandboxUnavailable
    │   ├── TrackError
    │   └── DataDamaged
    ├── NetworkError               the network
    │   └── DownloadFailed
    └── UserError                  the person at the keyboard
        ├── UnknownId
        ├── AmbiguousId
        ├── AlreadyRunning
        ├── BadSettings
        ├── BadKeyFile
        ├── LogInDoubt
        ├── BadArchive
        └── BadScript
"""


class AutoresearchError(Exception):
    """Base of every error that a person may see as one sentence."""


class RecordError(AutoresearchError):
    """A record that cannot be accepted."""


class RecordTooLarge(RecordError):
    """More bytes than a record may have."""


class MalformedRecord(RecordError):
    """Bytes that are not a record."""


class BadSignature(RecordError):
    """A signature that does not verify, or a key that must not be used."""


class WrongNetwork(RecordError):
    """A record of another network."""


class InvalidBody(RecordError):
    """A body that breaks the rules of its kind."""


class StoreError(AutoresearchError):
    """The replica on disk cannot do what was asked."""


class DiskFull(StoreError):
    """No room left for a write; nothing was changed."""


class StoreDamaged(StoreError):
    """The replica's file does not hold what it held."""


class NewerVersion(StoreError):
    """A file of a later version of this program."""


class ForeignFile(StoreError):
    """A file that says it is another network's or another program's."""


class BlobMissing(StoreError):
    """A source or log that is named but not here."""


class ExperimentError(AutoresearchError):
    """An experiment, or what it needs, is at fault."""


class SandboxUnavailable(ExperimentError):
    """No isolation that may be used on this machine."""


class TrackError(ExperimentError):
    """A track's folder does not describe a track."""


class DataDamaged(ExperimentError):
    """Data of a track that fails its hash."""


class NetworkError(AutoresearchError):
    """The network did not give what was asked."""


class DownloadFailed(NetworkError):
    """A download that could not be completed."""


class UserError(AutoresearchError):
    """A request that cannot be met as it stands."""


class UnknownId(UserError):
    """No record has this id."""


class AmbiguousId(UserError):
    """Several records have ids with this beginning."""


class AlreadyRunning(UserError):
    """Another process works on this home."""


class BadSettings(UserError):
    """A settings file, variable or flag with a wrong value."""


class BadKeyFile(UserError):
    """A key file with wrong rights or content."""


class LogInDoubt(UserError):
    """A key that may have signed elsewhere what this home does not know."""


class BadArchive(UserError):
    """A file that is no export, is damaged, or belongs to another network."""


class BadScript(UserError):
    """A script that cannot be an experiment."""
