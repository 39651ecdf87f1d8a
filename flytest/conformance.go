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

// A Conformance tests whether the provider at a URL, in any language, conforms to
// Fly.io's protocol. It sends the requests of Fly.io and of attackers, and compares
// the answers with the requirements of the protocol. BaseURL and
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
// A run provisions extensions whose ids begin with "flytest-", for two
// organizations of its own. It removes them at the end if the provider offers
// DELETE. It sends requests only to the provider at BaseURL and, as a customer's
// browser, to OAuthURL.
//
// The requirements are independent of each other. A requirement is skipped if the
// provider does not offer what it is about: the provider answers 501, or the route
// does not exist. A run takes a few hundred requests. If the provider answers 429,
// the run waits as long as Retry-After says, up to 15 seconds, and sends the request
// again, up to 5 times in all.
type Conformance struct {
	// BaseURL is the base URL of the provider, as in [Platform.BaseURL].
	BaseURL string

	// Format is the format of the signatures. It decides which generation of the
	// protocol is tested. "" means [FormatXSignature].
	Format Format

	// Credentials are the credentials in the provider's configuration.
	Credentials Credentials

	// Params are provider-specific parameters, which each provision request
	// carries. Customers give them to flyctl as options. Set those that the provider
	// requires. A name that [flyext.ProvisionRequest] or the signature already uses
	// is an error.
	Params map[string]json.RawMessage
	// Statuses maps the provider's own status words to the statuses that Fly.io
	// translates them to, such as "ACTIVE_HEALTHY" to [flyext.Ready]. Fly.io
	// translates a word only by agreement with the provider; flyctl itself knows
	// "ready" and "error".
	Statuses map[string]flyext.Status

	// OAuth is the simulated OAuth server that the provider is configured with. The
	// caller serves it at OAuthURL. The run sets its users, choice and faults, so OAuth
	// serves one run at a time. If OAuth is nil, the requirements that need a user to
	// sign in are skipped.
	OAuth    *OAuthServer
	OAuthURL string

	// Webhooks receives the provider's webhooks. The caller serves it. The
	// requirement "webhooks" fails if, by the end of the run, Webhooks has refused a
	// webhook or records one with a secret of the run. A GET without a signature,
	// such as that of a browser, does not count. The requirement is skipped if
	// Webhooks is nil or has received no webhook, because a run cannot make a provider
	// send one.
	Webhooks *WebhookReceiver

	// SSOGeneration is the generation of the sign-on that the provider uses. 0 means
	// the generation of OAuth or, if OAuth is nil, of Format.
	SSOGeneration flyext.Generation

	// Client, Now and Sleep are as in [Platform].
	Client *http.Client
	Now    func() time.Time
	Sleep  func(ctx context.Context, d time.Duration) error

	// Budget is how long Fly.io waits for an answer. 0 means 5 seconds.
	Budget time.Duration
	// Patience is how long an extension may take to become ready. 0 means 30
	// seconds, which keeps a run short; flyctl waits for [PollTimeout].
	Patience time.Duration

	// Only lists the ids of the requirements to test. Empty means all. An unknown id
	// is an error.
	Only []string

	// Started and Finished, if not nil, are called before and after each
	// requirement is tested.
	Started  func(Requirement)
	Finished func(Result)
}

// A Requirement is one thing that the protocol requires of a provider.
type Requirement struct {
	// ID identifies the requirement in [Conformance.Only], such as "replay". It is
	// stable.
	ID string
	// Group is the subject of the requirement, such as "Signatures".
	Group string
	// Text states the requirement in one sentence, without a full stop.
	Text string
	// Source is the heading that the requirement comes from, such as
	// "docs/protocol.md#answers" in this repository.
	Source string
	// Fix says how to change a provider that fails.
	Fix string
}

// A Verdict is the outcome of testing one requirement.
type Verdict string

// The verdicts.
const (
	Passed  Verdict = "passed"
	Failed  Verdict = "failed"
	Warned  Verdict = "warned"  // allowed by the protocol, but it can harm a customer
	Skipped Verdict = "skipped" // not offered by the provider, or not testable with this configuration
)

// A Result is the result of testing one requirement.
type Result struct {
	Requirement
	Verdict Verdict
	// Want and Got are the expected and the actual behavior, if the verdict is
	// Failed or Warned. They hold no secrets.
	Want, Got string
	// Trials are other ways to send a request that the provider refused. The run
	// tries them to find out why it was refused. If one was accepted, Fix names the
	// provider's mistake.
	Trials []Trial
	// Reason says why the requirement was skipped.
	Reason string
	// Exchanges are the requests and their answers, in the order of sending. The last
	// one shows a failure. Response is nil if the provider did not answer. Exchanges
	// hold secrets.
	Exchanges []Exchange
	Duration  time.Duration
}

// A Report holds the results of a run.
type Report struct {
	Results  []Result
	Duration time.Duration
}

// Count returns the number of results with the verdict v.
func (r *Report) Count(v Verdict) int {
	n := 0
	for _, result := range r.Results {
		if result.Verdict == v {
			n++
		}
	}
	return n
}

// Requirements returns all requirements, in the order of testing.
func Requirements() []Requirement {
	all := make([]Requirement, len(checks))
	for i := range checks {
		all[i] = checks[i].Requirement
	}
	return all
}

// An UnreachableError reports that the provider does not answer at all. Err is the
// cause.
type UnreachableError struct{ Err error }

// Error returns a message with the cause.
func (e *UnreachableError) Error() string { return "the provider does not answer: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Run tests the provider and reports the results. An unmet requirement is a result
// and not an error. Run returns an error in three cases:
//
//   - The configuration is wrong. The report is nil.
//   - The provider does not answer: an *[UnreachableError].
//   - The context ends: the error of ctx. The report has the results so far.
//
// Run always tests the requirement "provision" first, even if Only does not list
// it. If the provider makes no extension, the other requirements cannot be tested:
// the run ends, and [Result.Trials] has the other ways in which it sent the request.
// The report has the result of "provision" if Only lists it or the run ends there.
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
	return report, r.testAll(ctx, report)
}

// Test runs the conformance test, with a subtest of t for each requirement. A subtest
// fails if its requirement is not met. It is skipped if the requirement was skipped. A
// warning is logged and does not fail it. An error from Run ends t.
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

// String describes the result in several lines, for a developer. The text holds no
// secrets.
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

// A check is a requirement and its test.
type check struct {
	Requirement
	// run returns nil if the requirement is met. Otherwise it returns a *failure, a
	// *warning, a *skip, or the error of a request without an answer.
	run func(ctx context.Context, s *subject) error
}

// A failure reports that a requirement is not met.
type failure struct{ want, got string }

func (f *failure) Error() string { return "want " + f.want + ", got " + f.got }

// A warning reports that the provider does what the protocol allows but what can
// harm a customer.
type warning struct{ want, got string }

func (w *warning) Error() string { return "want " + w.want + ", got " + w.got }

// A skip reports why a requirement is not tested.
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

// The sources of requirements.
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

// checks lists all checks in the order of testing. The last checks of errorChecks
// and eventChecks examine the exchanges of all checks before them.
var checks = slices.Concat(provisionChecks, lifecycleChecks, signatureChecks, replayChecks, ssoChecks, organizationChecks, connectionChecks, errorChecks, eventChecks)
