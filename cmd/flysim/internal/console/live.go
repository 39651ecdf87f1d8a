package console

import (
	"fmt"
	"net/http"
	"time"
)

const (
	maxStreams = 32
	heartbeat  = 15 * time.Second
	// streamWrite bounds how long a browser may take to read an event.
	streamWrite = 10 * time.Second
)

// serveLive tells a page when there is something new, as server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html). An event says
// that, and not what: the page fetches itself once more.
func (c *Console) serveLive(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	full := c.streams >= maxStreams
	if !full {
		c.streams++
	}
	c.mu.Unlock()
	if full {
		w.Header().Set("Retry-After", "60")
		http.Error(w, "Too many pages are open.", http.StatusServiceUnavailable)
		return
	}
	defer func() {
		c.mu.Lock()
		c.streams--
		c.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	out := http.NewResponseController(w)
	send := func(text string) bool {
		// Not what the server has for other answers, which end.
		_ = out.SetWriteDeadline(time.Now().Add(streamWrite)) // where the server cannot, the browser's leaving ends it
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
		case <-c.stopped:
			return
		}
	}
}
