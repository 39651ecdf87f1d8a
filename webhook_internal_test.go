package flyext

import (
	"net/http"
	"testing"
	"time"
)

func TestBackoff(t *testing.T) {
	t.Parallel()
	for attempt, latest := range map[int]time.Duration{
		1: time.Second, 2: 2 * time.Second, 3: 4 * time.Second, 4: 8 * time.Second, 5: 16 * time.Second,
		6: 30 * time.Second, 7: 30 * time.Second, 100: 30 * time.Second,
	} {
		if got := backoff(attempt, 0); got != latest/2 {
			t.Errorf("attempt %d: the earliest retry is after %v, want %v", attempt, got, latest/2)
		}
		if got := backoff(attempt, 0.5); got != latest*3/4 {
			t.Errorf("attempt %d: the middle is %v, want %v", attempt, got, latest*3/4)
		}
		if got := backoff(attempt, 0.999999); got < latest-latest/1000 || got > latest {
			t.Errorf("attempt %d: the latest retry is after %v, want %v", attempt, got, latest)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name   string
		values []string
		want   time.Duration
	}{
		{"no header", nil, 0},
		{"seconds", []string{"7"}, 7 * time.Second},
		{"zero seconds", []string{"0"}, 0},
		{"a date", []string{"Tue, 24 Nov 2026 12:00:30 GMT"}, 30 * time.Second},
		{"a date in the format of RFC 850", []string{"Tuesday, 24-Nov-26 12:01:00 GMT"}, time.Minute},
		{"a past date", []string{"Tue, 24 Nov 2026 11:00:00 GMT"}, 0},
		{"more than an int", []string{"99999999999999999999"}, (1<<31 - 1) * time.Second},
		{"negative", []string{"-7"}, 0},
		{"a fraction", []string{"1.5"}, 0},
		{"a word", []string{"soon"}, 0},
		{"empty", []string{""}, 0},
		{"twice", []string{"7", "8"}, 0},
	} {
		if got := parseRetryAfter(http.Header{"Retry-After": test.values}, now); got != test.want {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}
