"""The client's errors as exceptions, one class per status code that a caller may want to tell apart."""


class InfenclaveError(Exception):
    """Any failure. `code` is the status' name, as gRPC has it."""

    code: str

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RefusedError(InfenclaveError, PermissionError):
    """The evidence, its signature or the bundle's version is not what the policy asks for, or the enclave does not let
    this caller ask."""


class InvalidInputError(InfenclaveError, ValueError):
    """The picture, the policy or another argument is not what it should be."""


class NotFoundError(InfenclaveError, FileNotFoundError):
    """There is no such file, or no such model on the server."""


class UnavailableError(InfenclaveError, ConnectionError):
    """Nobody answers there, or the server has no keys yet. Trying again later may help."""


class OverloadedError(UnavailableError):
    """The server's queue is full. Trying again later will help."""


class DeadlineError(InfenclaveError, TimeoutError):
    """The answer did not come within the timeout."""


# gRPC's status codes by number.
_CODES: dict[int, tuple[str, type[InfenclaveError]]] = {
    1: ("CANCELLED", InfenclaveError),
    2: ("UNKNOWN", InfenclaveError),
    3: ("INVALID_ARGUMENT", InvalidInputError),
    4: ("DEADLINE_EXCEEDED", DeadlineError),
    5: ("NOT_FOUND", NotFoundError),
    6: ("ALREADY_EXISTS", InfenclaveError),
    7: ("PERMISSION_DENIED", RefusedError),
    8: ("RESOURCE_EXHAUSTED", OverloadedError),
    9: ("FAILED_PRECONDITION", InfenclaveError),
    10: ("ABORTED", InfenclaveError),
    11: ("OUT_OF_RANGE", InvalidInputError),
    12: ("UNIMPLEMENTED", InfenclaveError),
    13: ("INTERNAL", InfenclaveError),
    14: ("UNAVAILABLE", UnavailableError),
    15: ("DATA_LOSS", InfenclaveError),
    16: ("UNAUTHENTICATED", InfenclaveError),
}


def error_of(code: int, message: str) -> InfenclaveError:
    name, kind = _CODES.get(code, ("UNKNOWN", InfenclaveError))
    return kind(name, message)
