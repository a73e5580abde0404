package keepstate

import (
	"context"
	"strconv"
	"unicode/utf8"

	pb "github.com/keepstate/keepstate/client/go/keepstatev1"
)

// StoreInfo is one store: a Dapr state component.
type StoreInfo struct {
	Name string
	// ComponentType is e.g. "state.redis".
	ComponentType string
	// ComponentVersion is e.g. "v1".
	ComponentVersion string
	// IsDefault: records that name no store are kept here.
	IsDefault bool
	// Promises are those of the contract, by number.
	Promises []Promise
	// Durability is what the store may lose of acknowledged writes when it fails over.
	Durability string
}

// Promise is one promise of the contract on one store.
type Promise struct {
	// Number is its number in the contract.
	Number int
	// Title is its short name, e.g. "transaction".
	Title   string
	Keeping Keeping
	// Reason is why, where it is refused or kept only in part.
	Reason string
}

// Keeping is how a promise is kept on a store. A number that has no name here is a newer service's.
type Keeping int32

const (
	// KeepingNative: by what the store itself does.
	KeepingNative = Keeping(pb.Keeping_KEEPING_NATIVE)
	// KeepingStaged: by the service, in several steps on the store.
	KeepingStaged = Keeping(pb.Keeping_KEEPING_STAGED)
	// KeepingRefused: not; calls that need it are refused before anything is changed.
	KeepingRefused = Keeping(pb.Keeping_KEEPING_REFUSED)
)

// String is "native", "staged", "refused", or the number.
func (k Keeping) String() string {
	switch k {
	case KeepingNative:
		return "native"
	case KeepingStaged:
		return "staged"
	case KeepingRefused:
		return "refused"
	}
	return strconv.Itoa(int(k))
}

// Stores lists the stores, by name.
func (c *Client) Stores(ctx context.Context) ([]StoreInfo, error) {
	answer, failure := call(ctx, c.connection, c.connection.stores.ListStores, &pb.ListStoresRequest{}, nil)
	if failure != nil {
		return nil, failure
	}
	stores := make([]StoreInfo, len(answer.GetStores()))
	for index, store := range answer.GetStores() {
		stores[index] = storeInfo(store)
	}
	return stores, nil
}

// StoreInfo describes one store; an empty name means the default one. It fails with ErrStoreNotFound where there is none of
// this name.
func (c *Client) StoreInfo(ctx context.Context, name string) (StoreInfo, error) {
	if !utf8.ValidString(name) {
		return StoreInfo{}, usage("store: it is not UTF-8")
	}
	answer, failure := call(ctx, c.connection, c.connection.stores.GetStore, &pb.GetStoreRequest{Name: name}, nil)
	if failure != nil {
		return StoreInfo{}, failure
	}
	return storeInfo(answer.GetStore()), nil
}

func storeInfo(message *pb.Store) StoreInfo {
	info := StoreInfo{
		Name:             message.GetName(),
		ComponentType:    message.GetComponentType(),
		ComponentVersion: message.GetComponentVersion(),
		IsDefault:        message.GetIsDefault(),
		Durability:       message.GetDurability(),
	}
	for _, promise := range message.GetPromises() {
		info.Promises = append(info.Promises, Promise{
			Number: int(promise.GetNumber()), Title: promise.GetTitle(),
			Keeping: Keeping(promise.GetKeeping()), Reason: promise.GetReason(),
		})
	}
	return info
}
