package keepstate

import (
	"errors"
	"io"
	"net"
	"testing"

	"golang.org/x/net/http2"
)

// goAwayUnprocessed speaks HTTP/2 on a connection until it has a message, and then says that it goes away and has processed
// none.
func goAwayUnprocessed(connection net.Conn) {
	defer connection.Close()
	if _, err := io.ReadFull(connection, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	framer := http2.NewFramer(connection, connection)
	if framer.WriteSettings() != nil {
		return
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() && framer.WriteSettingsAck() != nil {
				return
			}
		case *http2.DataFrame:
			if framer.WriteGoAway(0, http2.ErrCodeNo, nil) != nil {
				return
			}
		}
	}
}

func TestWhatAServiceThatGoesAwayHasNotProcessedIsSentAgainAndIsNoAttempt(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		service.serveFirst(goAwayUnprocessed)
		client.connection.clock.observe("2000-01-01T00:00:00Z", readClocks(), readClocks())
		must[string](t)(client.Put(t.Context(), "k", nil)) // by the next connection
		equal(t, "puts", len(service.requests()), 1)
		equal(t, "attempt", service.requests()[0].GetAttempt(), 0)
	}, WithoutRetry())
}

func TestWhatAServiceThatWentAwayHasNotProcessedWasNotSent(t *testing.T) {
	inBubble(t, func(t *testing.T, client *Client, service *fakeService) {
		client.connection.clock.observe("2000-01-01T00:00:00Z", readClocks(), readClocks())
		service.serveFirst(goAwayUnprocessed)
		service.refuseConnections(errors.New("nobody listens any more"))
		_, err := client.Put(t.Context(), "k", nil)
		equal(t, "nothing sent", mustBe(t, err, ErrUnavailable).NothingSent, true)
	}, WithoutRetry())
}
