package flyext_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyext/flyext"
)

// A distant deadline does not prevent a second attempt.
func TestWebhookWithTimeLeft(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	w := newWebhookTest(t, nil, hookAnswer{status: 503}, hookAnswer{status: 200})
	if err := w.hooks.Updated(ctx, stream()); err != nil || len(w.fly.all()) != 2 {
		t.Errorf("got %v after %d attempts, want success after 2", err, len(w.fly.all()))
	}
}

func TestWebhookInRealTime(t *testing.T) {
	t.Parallel()
	hang := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	fail := func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 503, Body: http.NoBody}, nil
	}
	hangInBody := func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Body: io.NopCloser(hangingBody{r.Context()})}, nil
	}
	const schedule = 15 * time.Second // 1 + 2 + 4 + 8
	for _, test := range []struct {
		name             string
		transport        transportFunc
		timeout          time.Duration // of the context
		attempts         int           // configured
		perAttempt       time.Duration // configured
		earliest, latest time.Duration
		sent             int
		want             error
		ok               bool
	}{
		{"every attempt fails", fail, 0, 0, 0, schedule / 2, schedule, 5, nil, false},
		{"every attempt hangs", hang, 0, 0, 0, 50*time.Second + schedule/2, 50*time.Second + schedule, 5, context.DeadlineExceeded, false},
		{"every attempt hangs, with a configured timeout", hang, 0, 2, time.Second, 2*time.Second + time.Second/2, 3 * time.Second, 2, context.DeadlineExceeded, false},
		{"an attempt hangs until the context ends", hang, 3 * time.Second, 0, 0, 3 * time.Second, 3 * time.Second, 1, context.DeadlineExceeded, false},
		{"the context would end before the next attempt", fail, 400 * time.Millisecond, 0, 0, 0, 0, 1, nil, false},
		{"the context has ended", fail, time.Nanosecond, 0, 0, time.Nanosecond, time.Nanosecond, 0, context.DeadlineExceeded, false},
		{"the body of a success hangs", hangInBody, 0, 0, 0, 10 * time.Second, 10 * time.Second, 1, nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				sent := 0
				hooks, err := flyext.NewWebhooks(flyext.WebhookConfig{
					ProviderName: "logjam", Secret: webhookSecret, Attempts: test.attempts, Timeout: test.perAttempt,
					HTTPClient: &http.Client{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
						sent++
						answer, err := test.transport(r)
						if answer != nil {
							answer.Request = r
						}
						return answer, err
					})},
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx := t.Context()
				start := time.Now()
				if test.timeout != 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.timeout)
					defer cancel()
					if test.timeout == time.Nanosecond {
						<-ctx.Done()
					}
				}
				err = hooks.Updated(ctx, stream())
				if took := time.Since(start); took < test.earliest || took > test.latest {
					t.Errorf("took %v, want %v to %v", took, test.earliest, test.latest)
				}
				if sent != test.sent {
					t.Errorf("sent %d times, want %d", sent, test.sent)
				}
				if test.ok {
					if err != nil {
						t.Error(err)
					}
					return
				}
				e, ok := errors.AsType[*flyext.WebhookError](err)
				if !ok || e.Attempts != test.sent || !e.Temporary() || !errors.Is(e.Err, test.want) {
					t.Errorf("got %#v", err)
				}
			})
		})
	}
}

// hangingBody is a body whose Read blocks until the context ends.
type hangingBody struct{ ctx context.Context }

func (b hangingBody) Read([]byte) (int, error) {
	<-b.ctx.Done()
	return 0, b.ctx.Err()
}

// A cancelled context ends the wait between two attempts.
func TestWebhookCancelledWhileItWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		hooks, err := flyext.NewWebhooks(flyext.WebhookConfig{
			ProviderName: "logjam", Secret: webhookSecret,
			HTTPClient: &http.Client{Transport: &flyHooks{answers: []hookAnswer{{status: 503}}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(100*time.Millisecond, cancel)
		start := time.Now()
		err = hooks.Deleted(ctx, stream())
		e, ok := errors.AsType[*flyext.WebhookError](err)
		if !ok || !errors.Is(err, context.Canceled) || e.Status != 503 || e.Attempts != 1 || !e.Temporary() {
			t.Errorf("got %#v", err)
		}
		if took := time.Since(start); took != 100*time.Millisecond {
			t.Errorf("took %v, want 100ms", took)
		}
	})
}
