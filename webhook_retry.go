package flyext

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// A WebhookError reports that Fly.io did not accept a webhook.
type WebhookError struct {
	// Action is "resource.created", "resource.updated" or "resource.deleted".
	Action string
	// ResourceID is the resource of the webhook.
	ResourceID string
	// Attempts is the number of attempts, or 0 if the webhook was not sent.
	Attempts int
	// Status is the HTTP status of the last response, or 0 if there was none.
	Status int
	// RetryAfter is the Retry-After of the last response, or 0.
	RetryAfter time.Duration
	// Err is the failure of the network, the context or the resource. It is nil if
	// Status is the reason.
	Err error

	permanent bool // Err is about the resource
}

// Error returns the text for the log, without secrets and without text of a response.
func (e *WebhookError) Error() string {
	if e == nil { // returned as an error by mistake
		return "a nil *flyext.WebhookError"
	}
	text := fmt.Sprintf("flyext: webhook %s of %q failed after %d attempts", e.Action, e.ResourceID, e.Attempts)
	if e.Attempts == 1 {
		text = text[:len(text)-1]
	}
	if e.Status != 0 {
		text += fmt.Sprintf(": status %d", e.Status)
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns Err.
func (e *WebhookError) Unwrap() error {
	if e == nil {
		return nil
	}
	return e.Err
}

// Temporary reports whether the same webhook may be accepted later, after RetryAfter:
// the response was missing, 408, 425, 429 or 5xx, or the context ended. A job queue
// should retry such a webhook and report any other failure to a person.
func (e *WebhookError) Temporary() bool {
	switch {
	case e == nil || e.permanent:
		return false
	case e.Status == 0: // no response
		return true
	}
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return e.Status/100 == 5
}

const (
	firstBackoff  = time.Second
	maxBackoff    = 30 * time.Second
	maxRetryAfter = time.Minute
)

// backoff returns the time to wait after an attempt, counted from 1. The time doubles
// with each attempt. fraction, in [0,1), selects a time in its second half.
func backoff(attempt int, fraction float64) time.Duration {
	d := maxBackoff
	if doublings := attempt - 1; doublings < 5 {
		d = min(firstBackoff<<doublings, maxBackoff)
	}
	return d/2 + time.Duration(fraction*float64(d/2))
}

func randomFraction() float64 { return rand.Float64() }

// endsWithin reports whether a context has ended, or ends within d.
func endsWithin(ctx context.Context, d time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && time.Until(deadline) <= d
}

// parseRetryAfter reads Retry-After (RFC 9110, section 10.2.3): seconds or a date. It
// returns 0 if the field is missing, malformed, past or repeated.
func parseRetryAfter(h http.Header, now time.Time) time.Duration {
	if len(h["Retry-After"]) != 1 {
		return 0
	}
	value := h["Retry-After"][0]
	seconds, err := strconv.ParseUint(value, 10, 31)
	if err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(seconds) * time.Second
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(0, date.Sub(now))
}
