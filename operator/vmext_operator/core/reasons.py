"""The one list of reasons that the operator itself gives; docs/reasons.md explains each, the agent's included."""

from __future__ import annotations

import enum


class Reason(enum.Enum):
    """Why an extension or a machine is not, or not yet, as declared."""

    SUCCEEDED = "Succeeded"
    PENDING = "Pending"
    AGENT_REPORTING = "AgentReporting"
    AGENT_NEVER_REPORTED = "AgentNeverReported"
    GUEST_UNREACHABLE = "GuestUnreachable"
    ALLOWED_OFFLINE = "AllowedOffline"
    ENROLLED = "Enrolled"
    NOT_ENROLLED = "NotEnrolled"
    CERTIFICATE_REFUSED = "CertificateRefused"
    RENEWAL_OVERDUE = "RenewalOverdue"
    CREDENTIAL_EXPIRED = "CredentialExpired"
    DUPLICATE_IDENTITY = "DuplicateIdentity"
    COPY_FOUND = "CopyFound"
    VIRTUAL_MACHINE_NOT_FOUND = "VirtualMachineNotFound"
    VIRTUAL_MACHINE_DELETING = "VirtualMachineDeleting"
    UNINSTALLING = "Uninstalling"
    UNKNOWN_IMAGE = "UnknownImage"
    SIGNATURE_INVALID = "SignatureInvalid"
    UNSUPPORTED_OS = "UnsupportedOS"
    PAUSED = "Paused"
    INVALID_SCHEMA = "InvalidSchema"
    USABLE = "Usable"
    INVALID_SETTINGS = "InvalidSettings"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 -- a reason
    SECRET_UNREADABLE = "SecretUnreadable"  # noqa: S105 -- a reason
    SECRET_INVALID = "SecretInvalid"  # noqa: S105 -- a reason
    WRONG_CERTIFICATE = "WrongCertificate"
    DEPENDENCY_CYCLE = "DependencyCycle"
    INVALID_DEPENDENCY = "InvalidDependency"
    DEPENDENCY_FAILED = "DependencyFailed"
    WAITING_FOR_DEPENDENCY = "WaitingForDependency"
    FAILURE_SUPPRESSED = "FailureSuppressed"
    HANDLER_CONFLICT = "HandlerConflict"
    GOAL_STATE_FULL = "GoalStateFull"
    SEQUENCE_BEHIND = "SequenceBehind"
    EXECUTION_FAILED = "ExecutionFailed"
    INSTALLED = "Installed"
    UPDATED = "Updated"
    NOT_DECLARED = "NotDeclared"
    ORPHANED = "Orphaned"
    REMOVED = "Removed"
    NOTHING_INSTALLED = "NothingInstalled"


#: What an extension that is being worked on is doing, by the operation that its machine names.
PROGRESS = {
    "Download": "Downloading",
    "Install": "Installing",
    "Enable": "Enabling",
    "Disable": "Disabling",
    "Update": "Updating",
    "Uninstall": "Uninstalling",
}
