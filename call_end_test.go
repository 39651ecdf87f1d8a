package flyext_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyext/flyext"
)

// The context of a call is cancelled when the call returns. This ends the work that a
// Provisioner started with it.
func TestContextEndsWithTheCall(t *testing.T) {
	t.Parallel()
	var seen context.Context
	p := &testProvisioner{fetch: func(ctx context.Context, _ string) (*flyext.Extension, error) {
		if err := ctx.Err(); err != nil {
			t.Errorf("the context has ended during the call: %v", err)
		}
		seen = ctx
		return &flyext.Extension{}, nil
	}}
	if w := do(newProvider(t, p, unsigned), fetchRequest("x1")); w.Code != 200 {
		t.Fatalf("got %d %s, want 200", w.Code, w.Body)
	}
	if err := seen.Err(); !errors.Is(err, context.Canceled) {
		t.Errorf("after the call the context has the error %v, want %v", err, context.Canceled)
	}
	select {
	case <-seen.Done():
	default:
		t.Error("after the call the context is not done")
	}
}

// The time that a request waits for another call counts towards its own deadline.
func TestDeadlineAfterWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int32
		p := &testProvisioner{fetch: func(ctx context.Context, _ string) (*flyext.Extension, error) {
			if calls.Add(1) == 1 {
				time.Sleep(20 * time.Second)
			} else {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return &flyext.Extension{}, nil
		}}
		provider := newProvider(t, p, unsigned)
		go do(provider, fetchRequest("x1"))
		synctest.Wait()
		start := time.Now()
		if w := do(provider, fetchRequest("x1")); w.Code != 504 {
			t.Errorf("got %d %s, want 504", w.Code, w.Body)
		}
		if took := time.Since(start); took != 25*time.Second || calls.Load() != 2 {
			t.Errorf("answered after %v and %d calls, want 25s and 2", took, calls.Load())
		}
	})
}

// An *Error of the Provisioner is the answer even if it wraps DeadlineExceeded.
func TestChosenAnswerOfADeadline(t *testing.T) {
	t.Parallel()
	p := &testProvisioner{fetch: func(context.Context, string) (*flyext.Extension, error) {
		return nil, &flyext.Error{Status: 409, Code: "conflict", Message: "Busy.", Err: context.DeadlineExceeded}
	}}
	w := do(newProvider(t, p, unsigned), fetchRequest("x1"))
	if a := readAnswer(t, w); w.Code != 409 || a.Error != "conflict" || a.Message != "Busy." {
		t.Errorf("got %d %+v", w.Code, a)
	}
}

// A log record has the level of the outcome and no empty attribute.
func TestLogRecords(t *testing.T) {
	t.Parallel()
	answers := func(err error) func(context.Context, string) (*flyext.Extension, error) {
		return func(context.Context, string) (*flyext.Extension, error) { return &flyext.Extension{}, err }
	}
	status := func(status int) error { return &flyext.Error{Status: status, Code: "c"} }
	for _, c := range []struct {
		name    string
		request *http.Request
		fetch   func(context.Context, string) (*flyext.Extension, error)
		want    string // level, message and the names of the attributes of each record
	}{
		{"success", fetchRequest("x1"), answers(nil), ""},
		{"a conflict", fetchRequest("x1"), answers(status(409)), "WARN request refused: request_id method route extension_id status code error;"},
		{"the highest status that is not a failure", fetchRequest("x1"), answers(status(499)), "WARN request refused: request_id method route extension_id status code error;"},
		{"the lowest status that is a failure", fetchRequest("x1"), answers(status(500)), "ERROR request failed: request_id method route extension_id status code error;"},
		{"a failure", fetchRequest("x1"), answers(errors.New("lost")), "ERROR request failed: request_id method route extension_id status code error;"},
		{"an unknown path", httptest.NewRequest("GET", "/elsewhere", nil), nil, "WARN request refused: request_id status code error;"},
		{"an unknown method", httptest.NewRequest("BREW", "/flyio/extensions", nil), nil, "WARN request refused: request_id route status code error;"},
		{"an empty body", httptest.NewRequest("POST", "/flyio/extensions", nil), nil, "WARN request refused: request_id method route status code error;"},
		{
			"a panic", fetchRequest("x1"), func(context.Context, string) (*flyext.Extension, error) { panic("lost") },
			"ERROR request failed: request_id method route extension_id status code error stack;",
		},
		{
			"a slow call", fetchRequest("x1"), func(context.Context, string) (*flyext.Extension, error) {
				time.Sleep(10 * time.Second)
				return &flyext.Extension{}, nil
			}, "WARN slow call: request_id method route extension_id duration;",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				log := &logBuffer{}
				do(newProvider(t, &testProvisioner{fetch: c.fetch}, func(c *flyext.Config) { unsigned(c); c.Logger = log.logger() }), c.request)
				if got := outline(t, log.text()); got != c.want {
					t.Errorf("got  %s\nwant %s\n%s", got, c.want, log.text())
				}
			})
		})
	}
}

// outline returns the level, the message and the attribute names of each record. It
// marks an attribute that has no value.
func outline(t *testing.T, log string) (text string) {
	t.Helper()
	for line := range strings.Lines(log) {
		dec := json.NewDecoder(strings.NewReader(line))
		var names []string
		values := map[string]any{}
		if err := json.Unmarshal([]byte(line), &values); err != nil {
			t.Fatal(err)
		}
		for dec.More() {
			token, err := dec.Token()
			if err != nil {
				break
			}
			name, ok := token.(string)
			if !ok {
				continue
			}
			if _, err := dec.Token(); err != nil {
				break
			}
			if name != "time" && name != "level" && name != "msg" {
				if values[name] == "" {
					name = "(empty) " + name
				}
				names = append(names, name)
			}
		}
		text += values["level"].(string) + " " + values["msg"].(string) + ": " + strings.Join(names, " ") + ";"
	}
	return text
}
