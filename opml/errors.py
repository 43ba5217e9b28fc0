"""Every error a user can meet: a stable code, an exit status, a message that says what to do."""

from typing import ClassVar, Self


class OpmlError(Exception):
    """Base of all errors raised on purpose. `code` is stable and may be matched by programs."""

    code: ClassVar[str] = "error"
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def within(self, where: str) -> Self:
        """The same error, its message led by the place where it happened."""
        self.message = f"{where}: {self.message}"
        self.args = (self.message,)
        return self

    def to_json(self) -> dict[str, str]:
        """`{"code", "message"}` and, where there is one, `"hint"`."""
        body = {"code": self.code, "message": self.message}
        return body | {"hint": self.hint} if self.hint else body


class InputError(OpmlError):
    """An input array or file does not fit the model: name, dtype or shape."""

    code = "bad-input"
    exit_status = 2


class ModelError(OpmlError):
    """A model file cannot be read: corrupt, or not a model."""

    code = "bad-model"
    exit_status = 3


class UnsupportedError(ModelError):
    """A model is well formed but uses an operator, attribute, dtype or shape that opml does not have."""

    code = "unsupported"


class ConstantNeededError(UnsupportedError):
    """An operator needs a constant where the model has something computed from `inputs`; pinning these would do."""

    code = "constant-needed"

    def __init__(self, message: str, inputs: tuple[str, ...]) -> None:
        values = " ".join(f"--value {name}=NUMBERS" for name in inputs)
        hint = f"make it part of the model: {values}, or {inputs[0]}=FILE.npy; in Python, `values`" if inputs else None
        super().__init__(message, hint)
        self.inputs = inputs


class ImageError(OpmlError):
    """A compiled image is corrupt or hostile, and is refused."""

    code = "bad-image"
    exit_status = 4


class ChainError(OpmlError):
    """The chain could not be reached, or refused a transaction."""

    code = "chain"
    exit_status = 5


class UnreachableError(ChainError):
    """A node that did answer does not any more, or only with a server's failures: asking again later may help."""

    code = "unreachable"


class RevertError(ChainError):
    """A contract reverted; `reason` is the name of its custom error."""

    code = "reverted"

    def __init__(self, reason: str, message: str | None = None, hint: str | None = None) -> None:
        super().__init__(message or f"the contract refused: {reason}", hint)
        self.reason = reason


class DisputeError(OpmlError):
    """A game cannot be played: unknown claim or game, wrong model, or no honest move left."""

    code = "dispute"
    exit_status = 6


class SelfCheckError(OpmlError):
    """Native execution and the machine disagree here: nothing may be bonded on this computer's results."""

    code = "self-check"
    exit_status = 7


class EvidenceError(OpmlError):
    """A receipt, its log or its tensors do not hold; `where` names the part, for example "digest" or "node conv2d"."""

    code = "evidence"
    exit_status = 9

    def __init__(self, where: str, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.where = where

    def to_json(self) -> dict[str, str]:
        """As every error, and `"where"`."""
        return super().to_json() | {"where": self.where}


class ReceiptError(EvidenceError):
    """A receipt or a log cannot be read: it is too large, cut off, or not in the one form it may have."""

    code = "bad-receipt"
