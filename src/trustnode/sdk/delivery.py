"""What we got under one access, counted by ourselves, and whether the receipt says the same.

Decides: the client's own count (frames, rows, bytes, stream commitment) and its verdict on a receipt. Leaves to others:
sending the acknowledgement (``acks``), decoding (``decoding``). Source: protocol 3.5, 6.4 step 11.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from trustnode.core.access import AccessHeader, AccessRequest, AckItem, Named, Receipt
from trustnode.core.document import Verified
from trustnode.core.stream import FrameNote, chain_next, chain_start, covers_content
from trustnode.errors import error
from trustnode.sdk.decoding import Decoder
from trustnode.wire.frame import parse_frame

Verdict = Literal["EQUAL", "LESS", "DIFFERENT"]


@dataclass
class Delivery:
    """Counts and decodes the frames of one access; called from one thread at a time."""

    header: AccessHeader
    frames: int = 0
    rows: int = 0
    size_bytes: int = 0
    """Length of the frames as they came."""
    chain: bytes = b""
    covers_content: bool = True
    """False: a frame came whose digest covers its length only; a receipt that says otherwise is refused."""
    decoder: Decoder = field(default_factory=Decoder)

    def __post_init__(self) -> None:
        self.chain = chain_start(bytes.fromhex(self.header.stream_salt))

    def take(self, message: bytes) -> Any:
        """Count one frame and decode it.

        Returns:
            A ``pyarrow.RecordBatch``; None for the schema.

        Raises:
            TrustnodeError: VERIFICATION_FAILED when the frame is not what its note says; MESSAGE_UNPARSABLE.
        """
        frame = parse_frame(message)
        note = _note(frame.app_metadata)
        covers = covers_content(note, frame.header, frame.body)
        if covers is None:
            raise error("VERIFICATION_FAILED", f"frame {self.frames + 1} was altered on its way", field="frame")
        if note.number != self.frames + 1:
            raise error("VERIFICATION_FAILED", f"frame {note.number} came after frame {self.frames}", field="frame")
        batch = self.decoder.take(frame, note.rows)
        self.frames += 1
        self.rows += note.rows
        self.size_bytes += len(message)
        self.covers_content &= covers
        self.chain = chain_next(self.chain, note.digest)
        return batch

    def verdict(self, receipt: Receipt) -> Verdict:
        """Whether the receipt says what we counted."""
        ours = (self.frames, self.rows, self.size_bytes, self.chain.hex())
        stated = (receipt.frames, receipt.rows, receipt.bytes, receipt.stream_commitment)
        if receipt.content_digest and not self.covers_content:
            return "DIFFERENT"
        if ours == stated:
            return "EQUAL"
        return "LESS" if self.frames < receipt.frames else "DIFFERENT"

    def item(self, receipt: Verified[Receipt]) -> AckItem:
        """Our acknowledgement of a receipt."""
        return AckItem(
            access=self.header.access,
            receipt_sha256=receipt.digest,
            frames=self.frames,
            rows=self.rows,
            bytes=self.size_bytes,
            stream_commitment=self.chain.hex(),
            verdict=self.verdict(receipt.value),
            final=True,
        )


def check_receipt(receipt: Receipt, request: Verified[AccessRequest], header: AccessHeader) -> None:
    """Refuse a receipt that is about something else than what we asked and were told.

    Raises:
        TrustnodeError: VERIFICATION_FAILED.
    """
    asked = request.value
    stated = (
        ("access", receipt.access, asked.id),
        ("request_sha256", receipt.request_sha256, request.digest),
        ("agreement", receipt.agreement, asked.agreement),
        ("agreement_sha256", receipt.agreement_sha256, asked.agreement_sha256),
        ("joined", ids(receipt.agreements), ids(asked.agreements)),
        ("iss", receipt.iss, asked.provider),
        ("stream_salt", receipt.stream_salt, header.stream_salt),
        ("decision.seq", str(receipt.decision.seq), str(header.decision_seq)),
        ("decision.link", receipt.decision.link, header.decision_link),
    )
    for name, said, expected in stated:
        if said != expected:
            raise error("VERIFICATION_FAILED", f"the receipt differs in {name}", field=name)


def ids(agreements: Sequence[Named]) -> str:
    """Agreements as one text, to compare and to show."""
    return ", ".join(f"{one.agreement} {one.agreement_sha256}" for one in agreements)


def _note(metadata: memoryview) -> FrameNote:
    try:
        return FrameNote.from_bytes(bytes(metadata))
    except struct.error:
        raise error("VERIFICATION_FAILED", "a frame came without its note", field="frame") from None
