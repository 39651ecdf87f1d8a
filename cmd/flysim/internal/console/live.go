package console

import (
	"fmt"
	"net/http"
	"slices"
	"time"
)

const (
	livePath   = "/live"
	maxStreams = 32
	heartbeat  = 15 * time.Second
	// streamWrite is the most time that a browser may take to read an event.
	streamWrite = 10 * time.Second
)

// serveLive tells a page about changes with server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html). An event only
// says that something changed. The page then fetches itself again.
func (c *Console) serveLive(w http.ResponseWriter, r *http.Request) {
	evicted := c.openStream()
	defer c.closeStream(evicted)
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	send := func(text string) bool {
		// Replace the server's deadline, which is for answers that end.
		_ = out.SetWriteDeadline(time.Now().Add(streamWrite)) // without deadlines, the stream ends when the browser leaves
		_, err := fmt.Fprint(w, text)
		return err == nil && out.Flush() == nil
	}
	if !send("retry: 1000\n\n") {
		return
	}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	seen := r.URL.Query().Get("since")
	for {
		c.mu.Lock()
		version, news := fmt.Sprint(c.version), c.news
		c.mu.Unlock()
		if version != seen && !send("data: "+version+"\n\n") {
			return
		}
		seen = version
		select {
		case <-news:
		case <-beat.C:
			if !send(":\n\n") {
				return
			}
		case <-r.Context().Done():
			return
		case <-evicted:
			return
		case <-c.stopped:
			return
		}
	}
}

// openStream registers a stream. Beyond maxStreams it ends the oldest stream, so
// that abandoned streams cannot block the page. The returned channel is closed
// when the new stream has to end.
func (c *Console) openStream() chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.streams) >= maxStreams {
		close(c.streams[0])
		c.streams = slices.Delete(c.streams, 0, 1)
	}
	evicted := make(chan struct{})
	c.streams = append(c.streams, evicted)
	return evicted
}

func (c *Console) closeStream(evicted chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams = slices.DeleteFunc(c.streams, func(other chan struct{}) bool { return other == evicted })
}
