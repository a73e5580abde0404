package keepstate

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"

	pb "github.com/keepstate/keepstate/client/go/keepstatev1"
)

var noon = time.Date(2027, 1, 1, 12, 0, 0, 0, time.UTC)

// clocks are those of a machine, to be moved.
type clocks struct{ at moment }

func newClocks() *clocks { return &clocks{moment{wall: noon.Add(-time.Hour), elapsed: time.Hour}} }

// pass has time pass for all clocks.
func (c *clocks) pass(time time.Duration) moment {
	c.at = moment{wall: c.at.wall.Add(time), elapsed: c.at.elapsed + time}
	return c.at
}

func (c *clocks) of() *serviceClock { return &serviceClock{read: func() moment { return c.at }} }

// tell has an answer tell a time, after a call that took so long.
func (c *clocks) tell(clock *serviceClock, service time.Time, took time.Duration) {
	sent := c.at
	clock.observe(service.Format(time.RFC3339Nano), sent, c.pass(took))
}

func TestTheServicesTimeIsTakenAtTheMiddleOfTheCallAndCarriedOn(t *testing.T) {
	machine := newClocks()
	clock := machine.of()
	machine.tell(clock, noon, 100*time.Millisecond)
	equal(t, "after the answer", clock.now(), noon.Add(50*time.Millisecond))
	machine.pass(time.Minute)
	equal(t, "a minute later", clock.now(), noon.Add(time.Minute+50*time.Millisecond))
}

func TestUntilAnAnswerTheLocalClockServes(t *testing.T) {
	machine := newClocks()
	equal(t, "known", machine.of().known(), false)
	equal(t, "now", machine.of().now(), machine.at.wall)
}

func TestTheBestSampleIsKeptAndGrowsOld(t *testing.T) {
	machine := newClocks()
	clock := machine.of()
	machine.tell(clock, noon, 10*time.Millisecond)
	machine.pass(time.Second)
	machine.tell(clock, noon.Add(time.Second+10*time.Millisecond), 100*time.Millisecond) // worse, and no contradiction
	equal(t, "after a worse one", clock.now(), noon.Add(time.Second+105*time.Millisecond))
	machine.pass(45 * time.Second) // by then the best may be wrong by as much
	machine.tell(clock, noon.Add(46*time.Second+170*time.Millisecond), 100*time.Millisecond)
	equal(t, "after a worse one, when the best is old", clock.now(), noon.Add(46*time.Second+220*time.Millisecond))
}

func TestASampleThatContradictsTheBestOneReplacesIt(t *testing.T) {
	machine := newClocks()
	clock := machine.of()
	machine.tell(clock, noon, 10*time.Millisecond)
	machine.tell(clock, noon.Add(time.Hour), 100*time.Millisecond)
	equal(t, "now", clock.now(), noon.Add(time.Hour+50*time.Millisecond))
}

func TestATimeThatCannotBeReadOrHasNoZoneIsPassedOver(t *testing.T) {
	for _, stamp := range []string{"", "noon", "2027-01-01T12:00:00", "2027-13-01T12:00:00Z"} {
		machine := newClocks()
		clock := machine.of()
		clock.observe(stamp, machine.at, machine.pass(time.Millisecond))
		equal(t, stamp, clock.known(), false)
	}
}

func TestSettingTheLocalClockByLittleDoesNotMoveTheServicesTime(t *testing.T) {
	machine := newClocks()
	clock := machine.of()
	machine.tell(clock, noon, 0)
	machine.at.wall = machine.at.wall.Add(900 * time.Millisecond)
	equal(t, "known", clock.known(), true)
	equal(t, "now", clock.now(), noon)
}

func TestNoTimeIsKnownAfterTheMachineHasSlept(t *testing.T) {
	machine := newClocks()
	clock := machine.of()
	machine.tell(clock, noon, 0)
	machine.at.wall = machine.at.wall.Add(time.Hour) // the other clock stood still
	equal(t, "known", clock.known(), false)
	machine.tell(clock, noon.Add(time.Hour), time.Second) // also by a worse sample
	equal(t, "known again", clock.known(), true)
	equal(t, "now", clock.now(), noon.Add(time.Hour+500*time.Millisecond))
}

func TestTheFirstWriteAsksForTheServicesTimeAndLaterOnesDoNot(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.ahead = time.Hour
		for range 3 {
			must[string](t)(client.Put(t.Context(), "k", nil))
		}
		equal(t, "asked", len(service.seen("GetStore")), 1)
		equal(t, "first sent", service.requests()[0].GetFirstSent().AsTime().Equal(time.Now().Add(time.Hour)), true)
	})
}

func TestAReadTellsTheTimeTooAlsoWhereItIsRefused(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		_, err := client.Get(t.Context(), "missing")
		mustBe(t, err, ErrNotFound)
		must[string](t)(client.Put(t.Context(), "k", nil))
		equal(t, "asked", len(service.seen("GetStore")), 0)
	})
}

func TestOfSeveralFirstWritesOneAsks(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		var writes sync.WaitGroup
		for range 8 {
			writes.Go(func() {
				if _, err := client.Put(t.Context(), "k", nil); err != nil {
					t.Error(err)
				}
			})
		}
		writes.Wait()
		equal(t, "asked", len(service.seen("GetStore")), 1)
		numbers := map[uint64]bool{}
		for _, request := range service.requests() {
			numbers[request.GetNumber()] = true
			equal(t, "client", request.GetClient(), service.requests()[0].GetClient())
		}
		equal(t, "numbers", len(numbers), 8)
		if numbers[0] || !numbers[1] || service.requests()[0].GetClient() == 0 {
			t.Errorf("numbers are not from 1 on, or the client is 0: %v", service.requests()[0])
		}
	})
}

func TestARefusalTellsTheTimeToo(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.ahead = time.Hour
		service.script("GetStore", failing(refusal(codes.PermissionDenied, "PERMISSION_DENIED", nil)))
		must[string](t)(client.Put(t.Context(), "k", nil))
		equal(t, "first sent", service.requests()[0].GetFirstSent().AsTime().Equal(time.Now().Add(time.Hour)), true)
	})
}

func TestWhereNobodyTellsTheTimeTheLocalClockServes(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.untimed = true
		must[string](t)(client.Put(t.Context(), "k", nil))
		equal(t, "first sent", service.requests()[0].GetFirstSent().AsTime().Equal(time.Now()), true)
	})
}

func TestAFirstWriteWhoseTimeIsUpWhileItAsksWasNotSent(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.untimed = true
		service.script("GetStore", silent)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		_, err := client.Put(ctx, "k", nil)
		equal(t, "nothing sent", mustBe(t, err, ErrDeadlineExceeded).NothingSent, true)
		equal(t, "puts", len(service.seen("Put")), 0)
	})
}

func TestAskingForTheTimeLeavesTheWriteSome(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.untimed = true
		service.script("GetStore", silent)
		began := time.Now()
		must[string](t)(client.Put(t.Context(), "k", nil))
		equal(t, "asked for", time.Since(began).Round(10*time.Millisecond), 6670*time.Millisecond)
	})
}

func TestAClientThatIsClosedWhileItAsksSendsNoWrite(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.script("GetStore", silent)
		ended := make(chan error)
		go func() {
			_, err := client.Put(t.Context(), "k", nil)
			ended <- err
		}()
		synctest.Wait()
		_ = client.Close()
		equal(t, "nothing sent", mustBe(t, <-ended, ErrCancelled).NothingSent, true)
	})
}

func TestTwoClientsHaveNumbersOfTheirOwn(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		must[string](t)(client.Put(t.Context(), "k", nil))
		must[string](t)(service.client().Put(t.Context(), "k", nil))
		one, other := service.requests()[0], service.requests()[1]
		if one.GetClient() == other.GetClient() {
			t.Error("two clients drew one number")
		}
		equal(t, "number", other.GetNumber(), (&pb.RequestId{Number: 1}).GetNumber())
	})
}
