package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// An outcome is the result of an action in words.
type outcome struct {
	ok          bool
	headline    string // one line, without a full stop
	explanation string // what it means and what to do; may be empty
}

// A call is one action towards the provider, with its result.
type call struct {
	what   action
	about  string // of an event: its type
	wire   *wire  // nil if nothing was sent
	answer *flyext.Extension
	err    error
	took   time.Duration // until the call failed or succeeded
}

// do sends one request. send gets a platform that records the exchange.
func (c *Console) do(what action, send func(*flytest.Platform) (*flyext.Extension, error)) call {
	done := call{what: what}
	p := c.platform
	p.Client = c.recording(func(w *wire) { done.wire = w })
	p.Observe = func(e flytest.Exchange) { done.wire = newWire(e) }
	start := time.Now()
	done.answer, done.err = send(&p)
	done.took = time.Since(start)
	status := 0
	if done.wire != nil {
		status = done.wire.status
	}
	// Do not log the error: it quotes the answer.
	c.log.Info("asked the provider", "action", string(what), "status", status, "ok", done.err == nil)
	return done
}

// answered reports whether the provider answered.
func (a call) answered() bool { return a.wire != nil && a.wire.answered() }

// outcome describes the result of the call.
func (a call) outcome(base string) outcome {
	if a.err == nil {
		return a.success()
	}
	if !a.answered() {
		return unanswered(a.err, base, a.took)
	}
	refusal, refused := errors.AsType[*flyext.Error](a.err)
	if !refused {
		return outcome{false, "flyctl could not use this answer", sentence(trimPrefix(a.err))}
	}
	headline := fmt.Sprintf("Refused with %d", refusal.Status)
	if refusal.Code != "" {
		headline += " " + clip(refusal.Code, 60)
	}
	if text := http.StatusText(refusal.Status); refusal.Message != text {
		headline += ": " + clip(refusal.Message, 200)
	} else if refusal.Code == "" {
		headline += " " + text
	}
	explanation := meaning(refusal.Status, a.what)
	if refusal.Err != nil && a.what != actionEvent {
		explanation = strings.TrimSpace(explanation + " flyctl shows its customer the member “message” of the answer, and finds none: " + clip(refusal.Err.Error(), 300) + ".")
	}
	return outcome{false, headline, explanation}
}

func (a call) success() outcome {
	switch a.what {
	case actionDeprovision:
		return outcome{ok: true, headline: "Deprovisioned"}
	case actionEvent:
		return outcome{ok: true, headline: "Received “" + clip(a.about, 100) + "”"}
	case actionRequest:
		return outcome{ok: true, headline: "Answered with " + clip(strings.TrimSpace(fmt.Sprint(a.wire.status, " ", http.StatusText(a.wire.status))), 60)}
	case actionUpdate:
		return a.changed("Updated")
	case actionProvision:
		secrets := fmt.Sprintf("%d secrets", len(a.answer.Secrets))
		if len(a.answer.Secrets) == 1 {
			secrets = "1 secret"
		}
		return a.changed("Provisioned, with " + secrets)
	}
	switch a.answer.Status {
	case flyext.Ready:
		return outcome{ok: true, headline: "It is ready"}
	case "":
		if a.what == actionPoll {
			return outcome{ok: true, headline: "Not ready yet: the answer has no “status”", explanation: "flyctl waits for the word “ready”."}
		}
		return outcome{ok: true, headline: "Fetched"}
	case flyext.Failed:
		return outcome{false, "The status is “error”", "flyctl gives up. " + a.toldCustomer()}
	}
	return outcome{ok: true, headline: "Not ready yet: the status is “" + clip(string(a.answer.Status), 60) + "”"}
}

// changed describes an answer that may have a status, such as “provisioning” or
// “error”.
func (a call) changed(headline string) outcome {
	switch a.answer.Status {
	case "", flyext.Ready:
		return outcome{ok: true, headline: headline}
	case flyext.Failed:
		return outcome{false, headline + ", and the status is “error”", "flyctl gives up at once. " + a.toldCustomer()}
	}
	return outcome{true, headline, "The status is “" + clip(string(a.answer.Status), 60) + "”."}
}

// toldCustomer returns flyctl's message for the status “error”.
func (a call) toldCustomer() string {
	if a.answer.Message == "" {
		return "It tells the customer “provisioning failed”, because the answer has no “error_message”."
	}
	return "It tells the customer: " + clip(a.answer.Message, 300)
}

// unanswered describes a call without a complete answer.
func unanswered(err error, base string, took time.Duration) outcome {
	if errors.Is(err, context.DeadlineExceeded) {
		return outcome{false, "No answer within " + took.Round(100*time.Millisecond).String(), "Fly.io waits for 5 seconds. If provisioning takes longer, answer at once with the secrets and the status “provisioning”."}
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		return outcome{false, "The provider cannot be reached", "Check that it runs at " + base + ". The error is: " + clip(u.Err.Error(), 300) + "."}
	}
	return outcome{false, "The answer cannot be read", sentence(trimPrefix(err))}
}

// meaning explains a status whose meaning is not plain.
func meaning(status int, what action) string {
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return "The provider rejects the signature. Compare the signature base, byte by byte, with what the provider computes, and check the secret, the format, the base URL and the clock."
	case what == actionEvent && (status == http.StatusNotFound || status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented):
		return "The provider does not receive events: they are POST {base}/extensions/events."
	case what == actionEvent && status/100 == 4:
		return "Fly.io sends an event again after an error. Answer 200 also to an event that you ignore, and to an event that you have received before."
	case status == http.StatusNotFound && what == actionProvision:
		return "There may be no provider at this base URL: provisioning is POST {base}/extensions."
	case status == http.StatusNotFound && what == actionDeprovision:
		return "Fly.io sends a request again after a failure. Answer the second DELETE like the first."
	case status == http.StatusNotFound:
		return "The provider does not know this extension."
	case status == http.StatusNotImplemented:
		return "The provider does not offer this."
	case status/100 == 3:
		return "Fly.io follows no redirect: a signature is for one URL."
	case status >= 500:
		return "The provider has an internal error. Its log should have the reason."
	}
	return ""
}

func trimPrefix(err error) string { return strings.TrimPrefix(err.Error(), "flytest: ") }

// sentence returns a text that starts with a capital letter and ends with a full
// stop.
func sentence(text string) string {
	text = clip(text, 400)
	if text == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:] + "."
}
