package keepstate

import (
	"bytes"
	"encoding/json"
	"time"
	"unicode/utf8"

	pb "github.com/keepstate/keepstate/client/go/keepstatev1"
)

// Operation is one read, write or check, for [State.Batch], [State.Transact] and [State.Snapshot]. The functions of this
// package make them: [Get], [Put], [Delete], [Touch], [Increment], [Append], [MergePatch], [Check].
type Operation struct {
	kind      operationKind
	namespace *string // nil: the view's
	store     *string // nil: the view's
	key       string

	value       []byte
	contentType string
	condition   *pb.Precondition
	expiry      expiry
	consistency pb.Consistency
	slide       *time.Duration

	increment *pb.Increment
	appended  *pb.Append
	patch     *pb.MergePatch

	// err is why the operation cannot be sent. Nil: it can.
	err error
}

type operationKind uint

const (
	kindGet operationKind = 1 << iota
	kindPut
	kindDelete
	kindTouch
	kindIncrement
	kindAppend
	kindMergePatch
	kindCheck

	kindUpdates = kindIncrement | kindAppend | kindMergePatch
	kindWrites  = kindPut | kindDelete | kindTouch | kindUpdates
	kindAll     = kindGet | kindWrites | kindCheck
)

var kindNames = map[operationKind]string{
	kindGet: "a get", kindPut: "a put", kindDelete: "a delete", kindTouch: "a touch", kindIncrement: "an increment",
	kindAppend: "an append", kindMergePatch: "a merge patch", kindCheck: "a check",
}

// expiry is when a record is to expire. At most one of the four.
type expiry struct {
	ttl   *time.Duration
	at    *time.Time
	keep  bool
	never bool
}

func (e expiry) given() bool { return e != expiry{} }

// OpOption is a condition, an expiry or something else that an operation may have. Two options that exclude each other, or
// one that the operation cannot have, are an ErrUsage of the call.
type OpOption struct {
	name string
	on   operationKind
	set  func(*Operation) error
}

// IfAbsent demands of a put, an update or a check that there is no record: else ErrAlreadyExists.
func IfAbsent() OpOption {
	absent := &pb.Precondition{Condition: &pb.Precondition_Absent{Absent: true}}
	return condition("IfAbsent", kindPut|kindUpdates|kindCheck, absent)
}

// IfExists demands of a write or a check that there is a record: else ErrNotFound.
func IfExists() OpOption {
	return condition("IfExists", kindWrites|kindCheck, &pb.Precondition{Condition: &pb.Precondition_Exists{Exists: true}})
}

// IfEtag demands of a write or a check that the record's etag is this one: else ErrConflict.
func IfEtag(etag string) OpOption {
	return condition("IfEtag", kindWrites|kindCheck, &pb.Precondition{Condition: &pb.Precondition_Etag{Etag: etag}})
}

func condition(name string, on operationKind, demand *pb.Precondition) OpOption {
	return OpOption{name, on, func(operation *Operation) error {
		if operation.condition != nil {
			return usage("%s: there is a condition already", name)
		}
		operation.condition = demand
		return nil
	}}
}

// TTL has the record expire so long from now, by the service's clock; 1 ms to 50 years. A put or an update without TTL,
// ExpireAt or KeepExpiry clears the expiry.
func TTL(ttl time.Duration) OpOption {
	return expiring("TTL", kindPut|kindTouch|kindUpdates, expiry{ttl: &ttl})
}

// ExpireAt has the record expire at this time, by the service's clock; in the future, at most 50 years from now.
func ExpireAt(at time.Time) OpOption {
	return expiring("ExpireAt", kindPut|kindTouch|kindUpdates, expiry{at: &at})
}

// KeepExpiry leaves the record the expiry that it has, if any.
func KeepExpiry() OpOption { return expiring("KeepExpiry", kindPut|kindUpdates, expiry{keep: true}) }

// Never has a touch take the record's expiry away.
func Never() OpOption { return expiring("Never", kindTouch, expiry{never: true}) }

func expiring(name string, on operationKind, given expiry) OpOption {
	return OpOption{name, on, func(operation *Operation) error {
		if operation.expiry.given() {
			return usage("%s: there is an expiry already", name)
		}
		operation.expiry = given
		return nil
	}}
}

// SlideTTL has a get also move the record's expiry to this long from now.
func SlideTTL(ttl time.Duration) OpOption {
	return OpOption{"SlideTTL", kindGet, func(operation *Operation) error {
		operation.slide = &ttl
		return nil
	}}
}

// ContentType says what the value of a put is. Default: "application/octet-stream".
func ContentType(name string) OpOption {
	return OpOption{"ContentType", kindPut, func(operation *Operation) error {
		operation.contentType = name
		return nil
	}}
}

// Strong has the store's primary read or acknowledge. It is the default.
func Strong() OpOption { return consistency("Strong", pb.Consistency_CONSISTENCY_STRONG) }

// Eventual lets any copy that the store chooses read or acknowledge.
func Eventual() OpOption { return consistency("Eventual", pb.Consistency_CONSISTENCY_EVENTUAL) }

func consistency(name string, asked pb.Consistency) OpOption {
	return OpOption{name, kindGet | kindWrites, func(operation *Operation) error {
		operation.consistency = asked
		return nil
	}}
}

// InNamespace names a record of another namespace than the view's. Empty: the default one.
func InNamespace(name string) OpOption {
	return OpOption{"InNamespace", kindAll, func(operation *Operation) error {
		operation.namespace = &name
		return nil
	}}
}

// InStore names a record of another store than the view's. Empty: the service's default store.
func InStore(name string) OpOption {
	return OpOption{"InStore", kindAll, func(operation *Operation) error {
		operation.store = &name
		return nil
	}}
}

// Initial is what an absent record counts as in an increment. Default: 0.
func Initial(number int64) OpOption {
	return bound("Initial", func(increment *pb.Increment) { increment.Initial = &number })
}

// Minimum is the least that an increment may leave: else ErrUpdateNotApplicable.
func Minimum(number int64) OpOption {
	return bound("Minimum", func(increment *pb.Increment) { increment.Minimum = &number })
}

// Maximum is the most that an increment may leave: else ErrUpdateNotApplicable.
func Maximum(number int64) OpOption {
	return bound("Maximum", func(increment *pb.Increment) { increment.Maximum = &number })
}

func bound(name string, set func(*pb.Increment)) OpOption {
	return OpOption{name, kindIncrement, func(operation *Operation) error {
		set(operation.increment)
		return nil
	}}
}

// MaxLength is how many items an append keeps, the newest. Default: all.
func MaxLength(items int32) OpOption {
	return OpOption{"MaxLength", kindAppend, func(operation *Operation) error {
		operation.appended.MaxLength = items
		return nil
	}}
}

// Get reads a record.
func Get(key string, options ...OpOption) Operation {
	return newOperation(Operation{kind: kindGet, key: key}, options)
}

// Put stores a value. It must not change until the call is over.
func Put(key string, value []byte, options ...OpOption) Operation {
	operation := Operation{kind: kindPut, key: key, value: value, contentType: "application/octet-stream"}
	return newOperation(operation, options)
}

// PutJSON stores what json.Marshal makes of a value.
func PutJSON(key string, value any, options ...OpOption) Operation {
	encoded, err := marshal(value)
	return newOperation(Operation{kind: kindPut, key: key, value: encoded, contentType: contentTypeJSON, err: err}, options)
}

// Delete deletes a record.
func Delete(key string, options ...OpOption) Operation {
	return newOperation(Operation{kind: kindDelete, key: key}, options)
}

// Touch moves a record's expiry without sending the value: by TTL, ExpireAt or Never, one of which it must have.
func Touch(key string, options ...OpOption) Operation {
	return newOperation(Operation{kind: kindTouch, key: key}, options)
}

// Increment adds to a number that is kept as decimal text.
func Increment(key string, delta int64, options ...OpOption) Operation {
	return newOperation(Operation{kind: kindIncrement, key: key, increment: &pb.Increment{Delta: delta}}, options)
}

// Append adds to the end of a JSON list. Each item is sent as json.Marshal makes it, a json.RawMessage as it is.
func Append(key string, items []any, options ...OpOption) Operation {
	operation := Operation{kind: kindAppend, key: key, appended: &pb.Append{}}
	for _, item := range items {
		encoded, err := encode(item)
		if err != nil {
			operation.err = err
			break
		}
		operation.appended.Items = append(operation.appended.Items, encoded)
	}
	return newOperation(operation, options)
}

// MergePatch merges a patch into a JSON value, as RFC 7396 says. It is sent as json.Marshal makes it, a json.RawMessage as it
// is.
func MergePatch(key string, patch any, options ...OpOption) Operation {
	encoded, err := encode(patch)
	return newOperation(Operation{kind: kindMergePatch, key: key, patch: &pb.MergePatch{Patch: encoded}, err: err}, options)
}

// Check demands something of a record that a transaction does not write.
func Check(key string, demand OpOption, options ...OpOption) Operation {
	return newOperation(Operation{kind: kindCheck, key: key}, append([]OpOption{demand}, options...))
}

// encode is for what the service itself reads.
func encode(value any) ([]byte, error) {
	if raw, is := value.(json.RawMessage); is {
		return bytes.Clone(raw), nil
	}
	return marshal(value)
}

func marshal(value any) ([]byte, error) {
	encoded, err := json.Marshal(value)
	if err != nil {
		return nil, usage("the value cannot be encoded: %w", err)
	}
	return encoded, nil
}

func newOperation(operation Operation, options []OpOption) Operation {
	for _, option := range options {
		if operation.err != nil {
			return operation
		}
		if option.on&operation.kind == 0 {
			operation.err = usage("%s: %s cannot have it", option.name, kindNames[operation.kind])
			return operation
		}
		operation.err = option.set(&operation)
	}
	if operation.err == nil && operation.kind == kindTouch && !operation.expiry.given() {
		operation.err = usage("a touch needs TTL, ExpireAt or Never")
	}
	if operation.err == nil && operation.kind == kindCheck && operation.condition == nil {
		operation.err = usage("a check needs IfAbsent, IfExists or IfEtag")
	}
	if operation.err == nil {
		operation.err = operation.mustBeText()
	}
	return operation
}

// mustBeText sees that what goes as text is UTF-8.
func (o *Operation) mustBeText() error {
	texts := []struct{ field, text string }{
		{"key", o.key}, {"content type", o.contentType}, {"IfEtag", o.condition.GetEtag()},
	}
	if o.namespace != nil {
		texts = append(texts, struct{ field, text string }{"namespace", *o.namespace})
	}
	if o.store != nil {
		texts = append(texts, struct{ field, text string }{"store", *o.store})
	}
	for _, each := range texts {
		if !utf8.ValidString(each.text) {
			return usage("%s: it is not UTF-8", each.field)
		}
	}
	return nil
}
