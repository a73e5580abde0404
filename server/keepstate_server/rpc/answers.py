"""From answers to protobuf responses."""

from datetime import timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from keepstate.v1 import record_pb2, state_service_pb2, store_service_pb2
from keepstate_server.domain.names import RecordName
from keepstate_server.domain.operations import Answer, Deleted, Found, Touched, Updated, Written
from keepstate_server.domain.promises import TITLES, Keeping
from keepstate_server.domain.records import Record, etag_of
from keepstate_server.domain.times import Instant
from keepstate_server.stores.catalog import ProbeReport, StoreInfo
from keepstate_server.stores.judgement import Finding, Verdict

__all__ = ["deleted", "found", "probe", "set_result", "set_snapshot_item", "store", "touched", "updated", "written"]

_KEEPING = {
    Keeping.NATIVE: store_service_pb2.KEEPING_NATIVE,
    Keeping.STAGED: store_service_pb2.KEEPING_STAGED,
    Keeping.REFUSED: store_service_pb2.KEEPING_REFUSED,
}

_VERDICTS = {
    Verdict.KEPT: store_service_pb2.PROBE_VERDICT_KEPT,
    Verdict.MENDED: store_service_pb2.PROBE_VERDICT_MENDED,
    Verdict.MISSING: store_service_pb2.PROBE_VERDICT_MISSING,
    Verdict.NOT_SEEN: store_service_pb2.PROBE_VERDICT_NOT_SEEN,
}


def found(name: RecordName, answer: Found) -> state_service_pb2.GetResponse:
    """Returns the response to a get."""
    response = state_service_pb2.GetResponse()
    _set_record(response.record, name, answer.record)
    return response


def written(answer: Written) -> state_service_pb2.PutResponse:
    """Returns the response to a put."""
    return state_service_pb2.PutResponse(etag=etag_of(answer.version))


def deleted(answer: Deleted) -> state_service_pb2.DeleteResponse:
    """Returns the response to a delete."""
    return state_service_pb2.DeleteResponse(existed=answer.existed)


def touched(answer: Touched) -> state_service_pb2.TouchResponse:
    """Returns the response to a touch."""
    response = state_service_pb2.TouchResponse()
    _set_touched(response, answer)
    return response


def updated(name: RecordName, answer: Updated) -> state_service_pb2.UpdateResponse:
    """Returns the response to an update."""
    response = state_service_pb2.UpdateResponse()
    _set_updated(response, name, answer)
    return response


def set_result(result: state_service_pb2.BatchResult, name: RecordName, answer: Answer) -> None:
    """Fills in the empty ``result`` of one operation of a batch."""
    # In place, as everything here that holds records: to make messages and put them into others copies each.
    match answer:
        case Found():
            _set_record(result.get.record, name, answer.record)
        case Written():
            result.put.etag = etag_of(answer.version)
        case Deleted():
            result.delete.SetInParent()
            result.delete.existed = answer.existed
        case Touched():
            _set_touched(result.touch, answer)
        case Updated():
            _set_updated(result.update, name, answer)


def set_snapshot_item(item: state_service_pb2.SnapshotItem, name: RecordName, record: Record | None) -> None:
    """Fills in one empty ``item`` of a snapshot; None: there was no record."""
    _set_name(item.name, name)
    if record is not None:
        _set_record(item.record, name, record)


def store(info: StoreInfo) -> store_service_pb2.Store:
    """Returns a store as callers see it."""
    return store_service_pb2.Store(
        name=info.component.name,
        component_type=info.component.type,
        component_version=info.component.version,
        is_default=info.is_default,
        durability=info.durability,
        promises=[
            store_service_pb2.PromiseStatus(
                number=each.number, title=TITLES[each.number], keeping=_KEEPING[each.keeping], reason=each.reason
            )
            for each in info.promises
        ],
    )


def probe(report: ProbeReport) -> store_service_pb2.ProbeStoreResponse:
    """Returns what a probe found."""
    return store_service_pb2.ProbeStoreResponse(
        store=store(report.info), findings=[_finding(each) for each in report.findings]
    )


def _finding(finding: Finding) -> store_service_pb2.ProbeFinding:
    observation = finding.observation
    message = store_service_pb2.ProbeFinding(
        name=observation.check,
        satisfied=finding.verdict in (Verdict.KEPT, Verdict.MENDED),
        detail=observation.detail,
        seen=observation.seen,
        expected=finding.expected,
        verdict=_VERDICTS[finding.verdict],
        consequence=finding.consequence,
    )
    message.duration.FromTimedelta(timedelta(seconds=observation.seconds))
    return message


def _set_touched(response: state_service_pb2.TouchResponse, answer: Touched) -> None:
    response.etag = etag_of(answer.version)
    if answer.expire_at is not None:
        _set_time(response.expire_time, answer.expire_at)


def _set_updated(response: state_service_pb2.UpdateResponse, name: RecordName, answer: Updated) -> None:
    response.repeated = answer.repeated
    if answer.record is not None:
        _set_record(response.record, name, answer.record)


def _set_record(message: record_pb2.Record, name: RecordName, record: Record) -> None:
    _set_name(message.name, name)
    message.value = record.value
    message.content_type = record.content_type
    message.etag = etag_of(record.version)
    if record.create_time is not None:
        _set_time(message.create_time, record.create_time)
    if record.update_time is not None:
        _set_time(message.update_time, record.update_time)
    if record.expire_time is not None:
        _set_time(message.expire_time, record.expire_time)


def _set_name(message: record_pb2.RecordName, name: RecordName) -> None:
    message.store = name.store
    message.namespace = name.namespace
    message.key = name.key


def _set_time(message: Timestamp, instant: Instant) -> None:
    message.seconds = instant // 1000
    message.nanos = instant % 1000 * 1_000_000
