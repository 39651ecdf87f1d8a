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

// An outcome says in words what came of an action.
type outcome struct {
	ok          bool
	headline    string // one line, without a full stop
	explanation string // what it means and what to do; may be empty
}

// A call is one action towards the provider and what came of it.
type call struct {
	what   action
	about  string // of an event: its type
	wire   *wire  // nil where nothing could be sent
	answer *flyext.Extension
	err    error
	took   time.Duration // until it failed or succeeded
}

// do sends one request. send gets a platform that takes note of the exchange.
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
	// Not the error: it quotes the answer.
	c.log.Info("asked the provider", "action", string(what), "status", status, "ok", done.err == nil)
	return done
}

// answered reports whether the provider answered.
func (a call) answered() bool { return a.wire != nil && a.wire.answered() }

// outcome says what came of the call.
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

// changed is about an answer that may say that the work goes on, or failed.
func (a call) changed(headline string) outcome {
	switch a.answer.Status {
	case "", flyext.Ready:
		return outcome{ok: true, headline: headline}
	case flyext.Failed:
		return outcome{false, headline + ", and the status is “error”", "flyctl gives up at once. " + a.toldCustomer()}
	}
	return outcome{true, headline, "The status is “" + clip(string(a.answer.Status), 60) + "”."}
}

// toldCustomer says what flyctl prints of the status “error”.
func (a call) toldCustomer() string {
	if a.answer.Message == "" {
		return "It tells its customer “provisioning failed”, since the answer has no “error_message”."
	}
	return "It tells its customer: " + clip(a.answer.Message, 300)
}

// unanswered is about a provider that did not answer, or not to the end.
func unanswered(err error, base string, took time.Duration) outcome {
	if errors.Is(err, context.DeadlineExceeded) {
		return outcome{false, "No answer within " + took.Round(100*time.Millisecond).String(), "Fly.io waits for 5 seconds. A provider that takes longer answers at once, with its secrets and the status “provisioning”."}
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		return outcome{false, "The provider cannot be reached", "Is it running, and at " + base + "? The attempt ended with: " + clip(u.Err.Error(), 300) + "."}
	}
	return outcome{false, "There is no answer to read", sentence(trimPrefix(err))}
}

// meaning says what a status usually means, where that is not plain.
func meaning(status int, what action) string {
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return "The provider rejects the signature. Compare the signature base, byte by byte, with what the provider computes, and check the secret, the format, the base URL and the clock."
	case what == actionEvent && (status == http.StatusNotFound || status == http.StatusMethodNotAllowed || status == http.StatusNotImplemented):
		return "The provider does not receive events: they are POST {base}/extensions/events."
	case what == actionEvent && status/100 == 4:
		return "Fly.io sends an event again that is answered with an error: a provider answers 200 also to what it has no use for, and to what it has received already."
	case status == http.StatusNotFound && what == actionProvision:
		return "There may be no provider at this base URL: provisioning is POST {base}/extensions."
	case status == http.StatusNotFound && what == actionDeprovision:
		return "Fly.io sends a request again after a failure, so a provider answers the second DELETE as it did the first."
	case status == http.StatusNotFound:
		return "The provider knows no such extension."
	case status == http.StatusNotImplemented:
		return "The provider does not offer this."
	case status/100 == 3:
		return "Fly.io follows no redirect: a signature is for one URL."
	case status >= 500:
		return "Something went wrong inside the provider: its own log should say what."
	}
	return ""
}

func trimPrefix(err error) string { return strings.TrimPrefix(err.Error(), "flytest: ") }

// sentence begins with a capital letter and ends with a full stop.
func sentence(text string) string {
	text = clip(text, 400)
	if text == "" {
		return ""
	}
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:] + "."
}
