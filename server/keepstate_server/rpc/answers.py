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

__all__ = ["batch_result", "deleted", "found", "probe", "snapshot_item", "store", "touched", "updated", "written"]

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
    return state_service_pb2.GetResponse(record=_record(name, answer.record))


def written(answer: Written) -> state_service_pb2.PutResponse:
    """Returns the response to a put."""
    return state_service_pb2.PutResponse(etag=etag_of(answer.version))


def deleted(answer: Deleted) -> state_service_pb2.DeleteResponse:
    """Returns the response to a delete."""
    return state_service_pb2.DeleteResponse(existed=answer.existed)


def touched(answer: Touched) -> state_service_pb2.TouchResponse:
    """Returns the response to a touch."""
    return state_service_pb2.TouchResponse(etag=etag_of(answer.version), expire_time=_timestamp(answer.expire_at))


def updated(name: RecordName, answer: Updated) -> state_service_pb2.UpdateResponse:
    """Returns the response to an update."""
    record = _record(name, answer.record) if answer.record else None
    return state_service_pb2.UpdateResponse(record=record, repeated=answer.repeated)


def batch_result(name: RecordName, answer: Answer) -> state_service_pb2.BatchResult:
    """Returns the result of one operation of a batch."""
    match answer:
        case Found():
            return state_service_pb2.BatchResult(get=found(name, answer))
        case Written():
            return state_service_pb2.BatchResult(put=written(answer))
        case Deleted():
            return state_service_pb2.BatchResult(delete=deleted(answer))
        case Touched():
            return state_service_pb2.BatchResult(touch=touched(answer))
        case Updated():
            return state_service_pb2.BatchResult(update=updated(name, answer))


def snapshot_item(name: RecordName, record: Record | None) -> state_service_pb2.SnapshotItem:
    """Returns one record of a snapshot; None: there was none."""
    return state_service_pb2.SnapshotItem(name=_name(name), record=_record(name, record) if record else None)


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


def _record(name: RecordName, record: Record) -> record_pb2.Record:
    return record_pb2.Record(
        name=_name(name),
        value=record.value,
        content_type=record.content_type,
        etag=etag_of(record.version),
        create_time=_timestamp(record.create_time),
        update_time=_timestamp(record.update_time),
        expire_time=_timestamp(record.expire_time),
    )


def _name(name: RecordName) -> record_pb2.RecordName:
    return record_pb2.RecordName(store=name.store, namespace=name.namespace, key=name.key)


def _timestamp(instant: Instant | None) -> Timestamp | None:
    if instant is None:
        return None
    return Timestamp(seconds=instant // 1000, nanos=instant % 1000 * 1_000_000)
