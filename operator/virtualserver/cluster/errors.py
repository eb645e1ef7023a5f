"""What can go wrong between us and the API server.

ApiError
├── Unreachable   no answer, or an answer of something in between (502, 503, 504)
├── NotFound      404: the object, or the kind itself, is not there
├── Conflict      409: it exists already, or it is another object of the same name
└── Gone          410: the resource version is too old; list again

CredentialsError is apart: there is nothing to ask with.
"""

from __future__ import annotations


class ApiError(Exception):
    """The API server refused; ``status`` is the HTTP code, 0 when there was no answer at all."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}" if status else message)
        self.status = status
        self.message = message


class Unreachable(ApiError):  # noqa: N818 - reads as what happened
    """No API server behind the address now; ask again once it answers (``Gate``)."""


class NotFound(ApiError):  # noqa: N818 - reads as what happened
    """The object or the kind does not exist."""


class Conflict(ApiError):  # noqa: N818 - reads as what happened
    """The object exists already, or is not the one that was meant."""


class Gone(ApiError):  # noqa: N818 - reads as what happened
    """The resource version is no longer kept; only a new list helps."""


class CredentialsError(Exception):
    """No host and credentials can be read, neither from KUBECONFIG nor from the pod."""


_KINDS: dict[int, type[ApiError]] = {
    404: NotFound,
    409: Conflict,
    410: Gone,
    502: Unreachable,
    503: Unreachable,
    504: Unreachable,
}


def error_for(status: int, message: str) -> ApiError:
    """Return the error of an HTTP status code."""
    return _KINDS.get(status, ApiError)(status, message)
