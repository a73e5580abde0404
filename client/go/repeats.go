package keepstate

import (
	"math/rand/v2"
	"time"

	pb "github.com/keepstate/keepstate/client/go/keepstatev1"
)

// Where less would be left for another attempt, an attempt may take all.
const leastForAttempt = time.Second

// Retry says how long to pause before something is sent again, within the call's deadline.
//
// The pauses are drawn between nothing and a ceiling that doubles from Initial to Limit, and come on top of what the
// service asks for.
type Retry struct {
	// Initial is the ceiling of the first pause. Zero: 50 ms.
	Initial time.Duration
	// Limit is the ceiling of every pause. Zero: 1 s.
	Limit time.Duration
}

var defaultRetry = Retry{Initial: 50 * time.Millisecond, Limit: time.Second}

// drawn is a number from 0 to 1, for pauses.
var drawn = rand.Float64

// pause is how long to wait after the attempt of this number, from 0 on.
func (r Retry) pause(attempt int) time.Duration {
	ceiling := min(float64(r.Limit), float64(r.Initial)*float64(int64(1)<<min(attempt, 32)))
	return time.Duration(drawn() * ceiling)
}

// attempts are the attempts at one call: how long each may take, and whether and when there is another.
type attempts struct {
	// retry says how to pause. Nil: there is one attempt.
	retry    *Retry
	deadline time.Time
	failed   int
}

func (a *attempts) left() time.Duration { return time.Until(a.deadline) }

// share is how long an attempt may take that begins now: much, since a slow store must be able to answer; not all, since a
// reply may be lost.
func (a *attempts) share() time.Duration {
	left := a.left()
	if a.retry == nil || left/3 < leastForAttempt {
		return left
	}
	return left * 2 / 3
}

// pauseAfter counts an attempt that failed so, in one or more of its parts, and returns how long to wait before what failed
// is sent again. False: it is not.
func (a *attempts) pauseAfter(failures ...*Error) (time.Duration, bool) {
	if a.retry == nil {
		return 0, false
	}
	var asked, needed time.Duration
	again := false
	for _, failure := range failures {
		if !failure.mayBeRepeated() {
			continue
		}
		again = true
		if failure.RetryAfter != nil {
			asked = max(asked, *failure.RetryAfter)
		}
		if failure.Kind == ErrDeadlineExceeded {
			needed = leastForAttempt // with less an attempt would only make an unknown outcome of a known one
		}
	}
	pause := a.retry.pause(a.failed)
	a.failed++
	room := a.left() - needed - pause
	return asked + pause, again && asked < room
}

// mayBeRepeated tells whether what failed so may succeed, or tell more, when it is sent again.
func (e *Error) mayBeRepeated() bool {
	switch e.Kind {
	case ErrUnavailable:
		return true
	case ErrDeadlineExceeded: // the attempt's time was up; whether the call's is, is judged by its deadline
		return true
	case ErrOutcomeUnknown:
		return !e.ForGood
	case ErrResourceExhausted:
		// What had no room in an answer finds some when less is asked for, not later.
		return e.RetryAfter != nil && e.Limit != "bytes in one answer"
	}
	return false
}

// part is one operation on its way through the attempts: a call's only one, or one of a batch.
type part struct {
	// request is what makes it repeatable, in the message that is sent. Nil: it reads.
	request *pb.RequestId
	// inDoubt: an attempt may have been applied, or may yet be, and no answer has told.
	inDoubt bool
}

// tell takes in how an attempt failed, and returns what the caller is told unless there is another.
func (p *part) tell(failure *Error) *Error {
	if p.request == nil || failure.isFinal() {
		return failure
	}
	if failure.Kind == ErrOutcomeUnknown {
		p.inDoubt = true
		return failure
	}
	if !p.inDoubt {
		return failure
	}
	return &Error{
		Kind:          ErrOutcomeUnknown,
		Message:       "an attempt may have been applied, and the last one failed: " + failure.Message,
		Code:          failure.Code,
		CorrelationID: failure.CorrelationID,
		LastFailure:   failure,
	}
}

// isFinal tells whether the service has judged the write, and so also all of its earlier attempts.
func (e *Error) isFinal() bool {
	switch e.Reason { // not the kind: what a later version's reasons say of earlier attempts is not known
	case "ETAG_MISMATCH", "TRANSACTION_CONFLICT", "RECORD_ALREADY_EXISTS", "RECORD_NOT_FOUND", "UPDATE_NOT_APPLICABLE":
		return true
	}
	return false
}
