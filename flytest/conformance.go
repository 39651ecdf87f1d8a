package flytest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

// A Conformance is the conformance test of a provider, in any language, at a
// URL: it plays Fly.io, and strangers who try to pass for it, and compares what
// comes back with what the protocol requires. BaseURL and
// Credentials.SigningSecret are required.
//
//	func TestConformance(t *testing.T) {
//		server := httptest.NewTLSServer(provider) // flyext.Config.BaseURL: "https://example.com/flyio"
//		c := flytest.Conformance{
//			BaseURL:     "https://example.com/flyio",
//			Credentials: flytest.Credentials{SigningSecret: secret},
//			Client:      server.Client(),
//		}
//		c.Test(t)
//	}
//
// It provisions extensions whose ids begin with "flytest-", for two
// organizations of its own, and removes them at the end if the provider lets
// it. It sends nothing to anybody but the provider at BaseURL and, as the
// browser of a customer who signs in, to OAuthURL.
//
// The requirements are independent of each other: each is tested with
// extensions of its own, and what a provider does not offer (its answer is 501,
// or it has no such route) is skipped. A run takes a few hundred requests; a
// provider that answers 429 is given the time that it asks for.
type Conformance struct {
	// BaseURL is the provider's, as in [Platform.BaseURL].
	BaseURL string

	// Format is how requests are signed, and so the generation of the protocol
	// that is tested; "" means [FormatXSignature].
	Format Format

	// Credentials are those that the provider is configured with.
	Credentials Credentials

	// Params are parameters of the provider's own, which a customer gives with
	// flyctl and each provision carries. A provider that requires some fails
	// without them. Their names are none of [flyext.ProvisionRequest]'s and none
	// of the signature's: an error otherwise.
	Params map[string]json.RawMessage
	// Statuses are the provider's own words for a status, and the statuses that
	// Fly.io maps them to, such as "ACTIVE_HEALTHY" to [flyext.Ready]. Fly.io may map
	// the words of a provider by agreement; flyctl itself knows "ready" and "error".
	Statuses map[string]flyext.Status

	// OAuth is the sign-on server that the provider is configured with, as it
	// serves at OAuthURL. The run sets its users, choice and faults as it needs
	// them. Without it, what needs a customer who signs in is skipped.
	OAuth    *OAuthServer
	OAuthURL string

	// Webhooks is where the provider sends its webhooks, as somebody serves it.
	// What it has refused by the end of the run is a requirement that is not met.
	// Without it, and where no webhook came, that one is skipped: nothing here
	// makes a provider send any.
	Webhooks *WebhookReceiver

	// SSOGeneration is the version of the sign-on that the provider uses; 0
	// means that of OAuth or, without one, that of Format.
	SSOGeneration flyext.Generation

	// Client, Now and Sleep are as in [Platform].
	Client *http.Client
	Now    func() time.Time
	Sleep  func(ctx context.Context, d time.Duration) error

	// Budget is how long Fly.io waits for an answer; 0 means 5 seconds.
	Budget time.Duration
	// Patience is how long an extension may take to be ready; 0 means 30
	// seconds, which keeps a run short. Fly.io has that of [PollTimeout].
	Patience time.Duration

	// Only has the ids of the requirements to test; empty means all.
	Only []string

	// Started and Finished, if they are not nil, are told of each requirement
	// before and after it is tested.
	Started  func(Requirement)
	Finished func(Result)
}

// A Requirement is one thing that a provider has to do.
type Requirement struct {
	// ID is stable, and what [Conformance.Only] takes, such as "replay".
	ID string
	// Group is what it is about, such as "Signatures".
	Group string
	// Text says what is required, in one sentence without a full stop.
	Text string
	// Source is where that is said: a heading in the repository, such as
	// "docs/protocol.md#answers".
	Source string
	// Fix says what a provider that fails may have to change.
	Fix string
}

// A Verdict is how a test of a requirement ended.
type Verdict string

// The verdicts.
const (
	Passed  Verdict = "passed"
	Failed  Verdict = "failed"
	Warned  Verdict = "warned"  // a provider may do so, and a customer may lose by it
	Skipped Verdict = "skipped" // the provider does not offer it, or it was not given what the test needs
)

// A Result is what the test of one requirement found.
type Result struct {
	Requirement
	Verdict Verdict
	// Want and Got say what was expected and what came instead, where the
	// requirement is not met or the verdict is a warning. Neither holds a secret.
	Want, Got string
	// Trials are other ways in which a refused request was sent, to find out why
	// the provider refused it. Fix then names the provider's mistake, if one of
	// them was accepted.
	Trials []Trial
	// Reason says why it was skipped.
	Reason string
	// Exchanges are the requests that were sent and their answers, in order; the
	// last one shows a failure. Where there was no answer, Response is nil. They
	// hold secrets.
	Exchanges []Exchange
	Duration  time.Duration
}

// A Report is what a run found.
type Report struct {
	Results  []Result
	Duration time.Duration
}

// Count returns how many results have a verdict.
func (r *Report) Count(v Verdict) int {
	n := 0
	for _, result := range r.Results {
		if result.Verdict == v {
			n++
		}
	}
	return n
}

// Requirements returns all that is tested, in the order of testing.
func Requirements() []Requirement {
	all := make([]Requirement, len(checks))
	for i := range checks {
		all[i] = checks[i].Requirement
	}
	return all
}

// An UnreachableError says that a provider did not answer at all.
type UnreachableError struct{ Err error }

// Error returns why.
func (e *UnreachableError) Error() string { return "the provider does not answer: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Run tests the provider. Requirements that are not met are no error: they are
// in the report. An error is a mistake in the configuration, an
// *[UnreachableError], or that of a context that ended; the report then has what
// was tested before.
//
// The run ends with the first requirement, "provision", if the provider makes
// nothing that the others could test, also where Only does not have it.
// [Result.Trials] then has the other ways in which the request was sent.
func (c *Conformance) Run(ctx context.Context) (*Report, error) {
	r, err := newConformanceRun(c)
	if err != nil {
		return nil, err
	}
	report := &Report{}
	start := time.Now()
	defer func() { report.Duration = time.Since(start) }()
	if err := r.reach(ctx); err != nil {
		return report, err
	}
	defer r.cleanUp(ctx)
	for i := range checks {
		check := &checks[i]
		gate := i == 0 // a provider that refuses everything refuses every forgery
		wanted := len(c.Only) == 0 || slices.Contains(c.Only, check.ID)
		if !wanted && !gate {
			continue
		}
		if err := ctx.Err(); err != nil {
			return report, err
		}
		if wanted && c.Started != nil {
			c.Started(check.Requirement)
		}
		result := r.test(ctx, check)
		open := !gate || r.opens(ctx, &result)
		if err := ctx.Err(); err != nil {
			return report, err
		}
		if wanted || !open {
			report.Results = append(report.Results, result)
			if c.Finished != nil {
				c.Finished(result)
			}
		}
		if !open {
			break
		}
	}
	return report, nil
}

// Test runs the requirements as subtests of t, one each.
func (c *Conformance) Test(t *testing.T) {
	t.Helper()
	own := *c
	own.Finished = func(result Result) {
		t.Run(result.ID, func(t *testing.T) {
			t.Helper()
			switch result.Verdict {
			case Failed:
				t.Error(result.String())
			case Warned:
				t.Log(result.String())
			case Skipped:
				t.Skip(result.Reason)
			}
		})
		if c.Finished != nil {
			c.Finished(result)
		}
	}
	if _, err := own.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// String tells a developer what is wrong or was skipped, in several lines and
// without secrets.
func (r Result) String() string {
	text := fmt.Sprintf("%s %s: %s (%s)", r.Verdict, r.ID, r.Text, r.Source)
	switch r.Verdict {
	case Failed, Warned:
		if n := len(r.Exchanges); n > 0 {
			sent := r.Exchanges[n-1].Request
			text += "\n  sent: " + sent.Method + " " + sent.URL.EscapedPath()
		}
		text += "\n  want: " + r.Want + "\n   got: " + r.Got + "\n   fix: " + r.Fix
	case Skipped:
		text += "\n  " + r.Reason
	}
	return text
}

// A check is a requirement and how to test it.
type check struct {
	Requirement
	// run returns nil if the requirement is met, a *failure if it is not, a
	// *skip, or the error of a request that was not answered.
	run func(ctx context.Context, s *subject) error
}

// A failure is how a requirement is not met.
type failure struct{ want, got string }

func (f *failure) Error() string { return "want " + f.want + ", got " + f.got }

// A warning is how a requirement is met in a way that a customer may lose by.
type warning struct{ want, got string }

func (w *warning) Error() string { return "want " + w.want + ", got " + w.got }

// A skip is why a requirement is not tested.
type skip struct{ reason string }

func (s *skip) Error() string { return s.reason }

// The groups of requirements.
const (
	groupProvisioning = "Provisioning"
	groupLifecycle    = "Fetching, updating, deprovisioning"
	groupSignatures   = "Signatures"
	groupReplays      = "Replays"
	groupEvents       = "Events"
	groupErrors       = "Errors"
	groupSSO          = "Single sign-on"
)

// Where requirements come from.
const (
	sourceGenerations = "docs/protocol.md#generations"
	sourceRoutes      = "docs/protocol.md#routes"
	sourceParameters  = "docs/protocol.md#parameters"
	sourceAnswers     = "docs/protocol.md#answers"
	sourceStatus      = "docs/protocol.md#status"
	sourceSecrets     = "docs/protocol.md#secrets"
	sourceErrors      = "docs/protocol.md#errors"
	sourceIdempotence = "docs/protocol.md#idempotence"
	sourceSSO         = "docs/protocol.md#sso"
	sourceEvents      = "docs/protocol.md#events"
	sourceWebhooks    = "docs/protocol.md#webhooks"
	sourceDecisions   = "docs/protocol.md#decisions"
)

// checks are all of them, in the order of testing. The last ones of errorChecks
// and of eventChecks are of what the others have seen.
var checks = slices.Concat(provisionChecks, lifecycleChecks, signatureChecks, replayChecks, ssoChecks, organizationChecks, connectionChecks, errorChecks, eventChecks)
