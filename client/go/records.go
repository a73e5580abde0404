package keepstate

import (
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/keepstate/keepstate/client/go/keepstatev1"
)

// RecordName names one record: a key within a namespace within a store.
type RecordName struct {
	// Store is the Dapr state component that keeps the record. Empty: the service's default store.
	Store string
	// Namespace is empty for the default one.
	Namespace string
	Key       string
}

// Record is one record as it is kept at one moment. Times are of the service's clock.
type Record struct {
	// Name is the record's name with the store filled in.
	Name RecordName
	// Value is any bytes. Zero bytes are a value.
	Value []byte
	// ContentType is what the writer said the value is. Empty for a value that another program wrote.
	ContentType string
	// Etag is good for exactly one version in one life of the record. A changed expiry does not change it.
	Etag string
	// CreateTime is when this life of the record began. Zero where it began with another program's write.
	CreateTime time.Time
	// UpdateTime is when the value was last written. Zero for a value that another program wrote.
	UpdateTime time.Time
	// ExpireTime is when the record ceases to exist. Zero: never.
	ExpireTime time.Time
}

// Updated is what an update left.
type Updated struct {
	// Record is the record as the update left it; where Repeated, as it is now, or nil if it is gone.
	Record *Record
	// Repeated: an answer was lost, and the repeat found the update applied. Others may have changed the record since.
	Repeated bool
}

const contentTypeJSON = "application/json"

// DecodeJSON reads the value as JSON into target, as json.Unmarshal does. It fails if the record names another content type.
func (r *Record) DecodeJSON(target any) error {
	if r.ContentType != contentTypeJSON && r.ContentType != "" {
		return fmt.Errorf("keepstate: record %q holds %s, not %s", r.Name.Key, r.ContentType, contentTypeJSON)
	}
	if err := json.Unmarshal(r.Value, target); err != nil {
		return fmt.Errorf("keepstate: record %q: %w", r.Name.Key, err)
	}
	return nil
}

func nameOf(message *pb.RecordName) RecordName {
	return RecordName{Store: message.GetStore(), Namespace: message.GetNamespace(), Key: message.GetKey()}
}

func (n RecordName) message() *pb.RecordName {
	return &pb.RecordName{Store: n.Store, Namespace: n.Namespace, Key: n.Key}
}

// recordOf is nil where there is no record.
func recordOf(message *pb.Record) *Record {
	if message == nil {
		return nil
	}
	return &Record{
		Name:        nameOf(message.GetName()),
		Value:       message.GetValue(),
		ContentType: message.GetContentType(),
		Etag:        message.GetEtag(),
		CreateTime:  timeOf(message.GetCreateTime()),
		UpdateTime:  timeOf(message.GetUpdateTime()),
		ExpireTime:  timeOf(message.GetExpireTime()),
	}
}

func timeOf(message *timestamppb.Timestamp) time.Time {
	if message == nil {
		return time.Time{}
	}
	return message.AsTime()
}
