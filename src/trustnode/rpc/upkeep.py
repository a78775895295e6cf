"""AdminService, its part about people and copies: operators, backups, mirrors of the log."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trustnode.app import backups, operators
from trustnode.app.backups import Backup
from trustnode.app.venue import Venue
from trustnode.core.operator import Operator
from trustnode.rpc.conversion import set_time
from trustnode.rpc.dispatch import Call
from trustnode.store.unit import View
from trustnode.v1 import admin_pb2
from trustnode.v1 import admin_service_pb2 as pb
from trustnode.wire.convert import document_from_proto

Row = tuple[str, type, type, Callable[..., object], bool]


def rows(venue: Venue) -> tuple[Row, ...]:
    """Rows of the table of methods."""

    async def backup(_call: Call, request: pb.BackupStoreRequest) -> pb.BackupStoreResponse:
        made = await backups.create(venue, Path(request.path))
        digest = bytes.fromhex(made.sha256)
        return pb.BackupStoreResponse(size_bytes=made.size_bytes, sha256=digest, entries=made.entries)

    async def list_backups(_call: Call, _request: pb.ListBackupsRequest) -> pb.ListBackupsResponse:
        found = await venue.store.read(backups.known)
        return pb.ListBackupsResponse(backups=[_backup(one) for one in found])

    async def try_backup(_call: Call, request: pb.TestBackupRequest) -> pb.TestBackupResponse:
        return pb.TestBackupResponse(backup=_backup(await backups.test(venue, Path(request.path))))

    async def change(_call: Call, request: pb.ChangeOperatorsRequest) -> pb.ChangeOperatorsResponse:
        found = await operators.change(venue, document_from_proto(request.act))
        return pb.ChangeOperatorsResponse(operators=[_operator(one) for one in found])

    return (
        ("BackupStore", pb.BackupStoreRequest, pb.BackupStoreResponse, backup, False),
        ("ListBackups", pb.ListBackupsRequest, pb.ListBackupsResponse, list_backups, False),
        ("TestBackup", pb.TestBackupRequest, pb.TestBackupResponse, try_backup, False),
        ("ChangeOperators", pb.ChangeOperatorsRequest, pb.ChangeOperatorsResponse, change, False),
    )


async def add(message: admin_pb2.NodeStatus, venue: Venue) -> None:
    """Tell in a status who operates the node, who mirrors its log, and how old its backups are."""
    people, made, tested = await venue.store.read(_known)
    message.operators.extend(_operator(one) for one in people)
    set_time(message.backup_at, made)
    set_time(message.backup_tested_at, tested)
    for domain, (size, seen_at) in sorted(venue.mirrored.items()):
        shown = message.log.mirrors.add(trust_domain=domain, size=size)
        set_time(shown.seen_at, seen_at)


def _known(view: View) -> tuple[list[Operator], str, str]:
    made = backups.known(view)
    return operators.operators(view), made[0].time if made else "", view.setting(backups.TESTED)


def _operator(one: Operator) -> admin_pb2.OperatorInfo:
    return admin_pb2.OperatorInfo(name=one.name, role=one.role, public_key=one.public, account=one.account)


def _backup(one: Backup) -> pb.BackupInfo:
    shown = pb.BackupInfo(path=one.path, size_bytes=one.size_bytes, sha256=one.sha256, entries=one.entries)
    set_time(shown.made_at, one.time)
    set_time(shown.tested_at, one.tested_at)
    return shown
