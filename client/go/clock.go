package keepstate

import (
	"sync"
	"time"
)

const (
	// The service states its time in whole milliseconds.
	timeResolution = time.Millisecond
	// That two clocks may part in a second: far more than clocks do, so that old samples make room for new ones.
	driftPerSecond = time.Millisecond
	// By how much the two clocks of this machine may part before the service is asked anew.
	mostParted = time.Second
)

// moment is what this machine's clocks show at one time.
type moment struct {
	// wall is what the clock on the wall shows, which may be set.
	wall time.Time
	// elapsed is carried on by a clock that nobody sets. It may stop while the machine sleeps.
	elapsed time.Duration
}

var processStart = time.Now()

func readClocks() moment {
	now := time.Now()
	return moment{wall: now.Round(0), elapsed: now.Sub(processStart)}
}

// timeSample is what one answer told of the service's time.
type timeSample struct {
	at      moment
	service time.Time
	// err is by how much service may be wrong at that moment.
	err time.Duration
}

// serviceClock estimates the service's time from the times that its answers carry.
//
// An answer was stamped somewhere between sending and receiving, so half of the round trip is the most by which the estimate
// can be wrong, and the quickest answer of late is the best one.
type serviceClock struct {
	read func() moment

	mu   sync.Mutex
	best *timeSample
}

// known tells whether an answer has told the service's time, and the machine has not slept since.
func (c *serviceClock) known() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.knownAt(c.read())
}

func (c *serviceClock) knownAt(now moment) bool {
	if c.best == nil {
		return false
	}
	parted := now.wall.Sub(c.best.at.wall) - (now.elapsed - c.best.at.elapsed)
	return parted.Abs() <= mostParted
}

// now is the service's time, or the local one where that is not known.
func (c *serviceClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.read()
	if !c.knownAt(now) {
		return now.wall
	}
	return c.best.service.Add(now.elapsed - c.best.at.elapsed)
}

// observe takes in the keepstate-time of an answer.
func (c *serviceClock) observe(stamp string, sent, received moment) {
	service, err := time.Parse(time.RFC3339Nano, stamp)
	if err != nil {
		return // a proxy's, not the service's: no reason to fail a call that succeeded
	}
	half := (received.elapsed - sent.elapsed) / 2
	sample := &timeSample{
		at:      moment{wall: sent.wall.Add(half), elapsed: sent.elapsed + half},
		service: service,
		err:     half + timeResolution,
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.knownAt(received) || sample.isBetterThan(c.best) {
		c.best = sample
	}
}

func (s *timeSample) isBetterThan(best *timeSample) bool {
	passed := s.at.elapsed - best.at.elapsed
	err := best.err + time.Duration(passed.Abs().Seconds()*float64(driftPerSecond))
	// Two that cannot both be right: the service's clock was set, or another instance answers. The newer one counts.
	contradicts := best.service.Add(passed).Sub(s.service).Abs() > err+s.err
	return contradicts || s.err <= err
}
