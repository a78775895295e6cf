"""AdminService, the part about the log: its witnesses, and forks of any log.

Decides: nothing. Leaves to others: who is a witness and how far (``app.cosigning``), what a fork is (``app.witness``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from trustnode.app import lost_record
from trustnode.app.cosigning import Cosigning, Standing
from trustnode.app.venue import Venue
from trustnode.core.evidence.tree import HASH_BYTES
from trustnode.rpc.conversion import set_time
from trustnode.rpc.dispatch import Call
from trustnode.rpc.methods import Method, only
from trustnode.v1 import admin_pb2
from trustnode.v1 import admin_service_pb2 as pb

if TYPE_CHECKING:
    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

    from trustnode.store.checkpoints import Fork, Witnessed

SERVICE: Final = "/trustnode.v1.AdminService/"
MAX_FORKS: Final = 256
"""Forks in one answer."""


def methods(venue: Venue, cosigning: Cosigning) -> tuple[Method, ...]:
    """The methods of this part."""

    async def list_witnesses(_call: Call, _request: pb.ListWitnessesRequest) -> pb.ListWitnessesResponse:
        logs = await venue.store.read(lambda view: view.all_witnessed())
        return _witnesses(await cosigning.standings(), logs)

    async def list_forks(_call: Call, _request: pb.ListForksRequest) -> pb.ListForksResponse:
        return _forks(await venue.store.read(lambda view: view.forks(limit=MAX_FORKS)))

    async def accept_head(_call: Call, request: pb.AcceptHeadRequest) -> pb.AcceptHeadResponse:
        await lost_record.accept(venue, request.trust_domain, request.size, request.root)
        return pb.AcceptHeadResponse(origin=venue.keyring.log_origin(request.trust_domain))

    operator = only("OPERATOR")
    return (
        Method(
            name=SERVICE + "ListWitnesses", request=pb.ListWitnessesRequest, response=pb.ListWitnessesResponse,
            handler=list_witnesses, audiences=operator,
        ),
        Method(
            name=SERVICE + "ListForks", request=pb.ListForksRequest, response=pb.ListForksResponse, handler=list_forks,
            audiences=operator,
        ),
        Method(
            name=SERVICE + "AcceptHead", request=pb.AcceptHeadRequest, response=pb.AcceptHeadResponse,
            handler=accept_head, audiences=operator,
        ),
    )  # fmt: skip


def add_standings(field: RepeatedCompositeFieldContainer[admin_pb2.Cosignature], standings: Iterable[Standing]) -> None:
    """Fill in how far every witness is."""
    for one in standings:
        shown = field.add(witness=one.domain, size=one.size, problem=one.hostile or one.problem)
        if one.behind_s:
            shown.behind.FromMilliseconds(round(one.behind_s * 1000))


def _witnesses(standings: Iterable[Standing], logs: Iterable[Witnessed]) -> pb.ListWitnessesResponse:
    """Both directions."""
    response = pb.ListWitnessesResponse()
    add_standings(response.witnesses, standings)
    for one in logs:
        set_time(response.logs.add(origin=one.origin, size=one.size).time, one.time)
    return response


def _forks(found: Iterable[Fork]) -> pb.ListForksResponse:
    """Forks with everything that proves them."""
    response = pb.ListForksResponse()
    for one in found:
        proof = [one.proof[i : i + HASH_BYTES] for i in range(0, len(one.proof), HASH_BYTES)]
        shown = response.forks.add(
            origin=one.origin, size=one.size, held=one.held, shown=one.shown, proof=proof, hashes=one.hashes,
            proven=one.proven, source=one.source,
        )  # fmt: skip
        set_time(shown.time, one.time)
    return response
