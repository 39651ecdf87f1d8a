package flytest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// A slowpoke is a provider that answers GETs with polls, one after the other, and
// repeats the last one.
type slowpoke struct {
	created string // body of the answer to a POST
	status  int    // of the answer to a POST; 0 means 200
	polls   []string
}

func (s *slowpoke) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		if s.status != 0 {
			w.WriteHeader(s.status)
		}
		_, _ = io.WriteString(w, s.created)
		return
	}
	_, _ = io.WriteString(w, s.polls[0])
	if len(s.polls) > 1 {
		s.polls = s.polls[1:]
	}
}

// waiting returns a Platform that does not wait, but records the times in waited.
func waiting(t *testing.T, provider http.Handler, waited *[]time.Duration) *flytest.Platform {
	t.Helper()
	return &flytest.Platform{
		BaseURL: baseURL, Signer: flytest.XSignature(secret), Client: serve(t, provider),
		Sleep: func(_ context.Context, d time.Duration) error {
			*waited = append(*waited, d)
			return nil
		},
	}
}

const (
	making = `{"id":"x","status":"provisioning"}`
	made   = `{"id":"x","name":"collider-prod","status":"ready"}`
)

// TestCreate compares with the recorded output of the real flyctl.
func TestCreate(t *testing.T) {
	t.Parallel()
	envelope := func(status string) string {
		return `{"id":"x","config":{"LOGJAM_URL":"https://u:p@logjam.example","LOGJAM_REGION":"mad"},"name":"my-logs"` + status + `}`
	}
	const (
		ready   = "Your Logjam log stream (my-logs) is ready. See details and next steps with: flyctl ext logjam --help\n\n"
		asked   = "Your Logjam log stream (small) is ready. See details and next steps with: flyctl ext logjam --help\n\n"
		secrets = "LOGJAM_REGION: mad\nLOGJAM_URL: https://u:p@logjam.example\n"
		toSet   = "Set the following secrets on your target app.\n"
		setting = "Setting the following secrets on collider:\n"
		staged  = "\nSecrets are staged for the first deployment\n"
	)
	provisioning := envelope(`,"status":"provisioning"`)
	async := flytest.Registration{Async: true}
	app := flytest.Registration{App: "collider"}
	for _, c := range []struct {
		name         string
		registration flytest.Registration
		provider     slowpoke
		polls        int // number of waits
		terminal     string
		exit         int
		err          string
		warning      string
		unasked      bool // no request is sent
	}{
		{name: "no app", provider: slowpoke{created: envelope("")}, terminal: ready + toSet + secrets},
		{name: "no app, asynchronous", registration: async, provider: slowpoke{created: envelope(`,"status":"ready"`)}, terminal: ready + toSet + secrets},
		{
			name: "region", registration: flytest.Registration{SelectRegion: true}, provider: slowpoke{created: envelope("")},
			terminal: strings.Replace(ready, "(my-logs)", "(my-logs) in mad", 1) + toSet + secrets,
		},
		{name: "app", registration: app, provider: slowpoke{created: envelope("")}, terminal: ready + setting + secrets + staged},
		{
			name: "deployed app", registration: flytest.Registration{App: "collider", AppDeployed: true}, provider: slowpoke{created: envelope("")},
			terminal: ready + setting + secrets + "\n",
		},
		{
			name: "slow, asynchronous", registration: async, provider: slowpoke{created: provisioning, polls: []string{making, making, made}},
			polls: 2, terminal: ready + toSet + secrets,
		},
		{
			name: "unknown status, asynchronous", registration: async, provider: slowpoke{created: envelope(`,"status":"warming up"`), polls: []string{made}},
			terminal: ready + toSet + secrets,
		},
		{
			name: "slow, not asynchronous", provider: slowpoke{created: provisioning, polls: []string{making}},
			terminal: ready + toSet + secrets, warning: "never asks for its status",
		},
		{
			name: "error in the first answer, not asynchronous", provider: slowpoke{created: envelope(`,"status":"error","error_message":"There is no room."`)},
			terminal: ready + toSet + secrets, warning: "tells the customer that the extension is ready",
		},
		{
			name: "error in the first answer, asynchronous", registration: async, provider: slowpoke{created: envelope(`,"status":"error","error_message":"There is no room."`)},
			terminal: "Error: There is no room.\n", exit: 1, err: "There is no room.",
		},
		{
			name: "error later", registration: async, provider: slowpoke{created: provisioning, polls: []string{making, `{"id":"x","status":"error"}`}},
			polls: 1, terminal: "Error: provisioning failed\n", exit: 1, err: "provisioning failed",
		},
		{
			name: "4 minutes over", registration: async, provider: slowpoke{created: provisioning, polls: []string{making}},
			polls: 120, terminal: "Error: timed out waiting for provisioning to complete\n", exit: 1, err: "timed out waiting for provisioning to complete",
		},
		{
			name: "the provider's error", provider: slowpoke{status: http.StatusUnprocessableEntity, created: `{"error":"invalid","message":"There is no region xyz."}`},
			terminal: "Error: input:3:2: createAddOn There is no region xyz.\n\n", exit: 1, err: "422 invalid: There is no region xyz.",
		},
		{
			name: "a secret that is a number", provider: slowpoke{created: `{"id":"x","config":{"A":"a","PORT":5432,"Z":"z"}}`},
			terminal: asked + toSet + "A: a\npanic: interface conversion: interface {} is float64, not string\n", exit: 3,
			err: `flytest: the secret "PORT" is a number; flyctl requires a string`,
		},
		{
			name: "a secret that is null", registration: app, provider: slowpoke{created: `{"id":"x","config":{"A":null}}`},
			terminal: asked + setting + "panic: interface conversion: interface {} is nil, not string\n", exit: 3,
			err: `flytest: the secret "A" is null; flyctl requires a string`,
		},
		{
			name: "no config, app", registration: app, provider: slowpoke{created: `{"id":"x"}`},
			terminal: asked, err: `flytest: the answer has no "config"; send the secrets in it, because Fly.io does not ask for them again`,
		},
		{name: "empty config, app", registration: app, provider: slowpoke{created: `{"id":"x","config":{}}`}, terminal: asked + setting + staged},
		{
			name: "generation 1", provider: slowpoke{created: `{"LOGJAM_URL":"https://u:p@logjam.example"}`},
			terminal: asked + toSet + "LOGJAM_URL: https://u:p@logjam.example\n",
		},
		{
			name: "a name exists on the app", registration: flytest.Registration{App: "collider", AppSecrets: []string{"OTHER", "LOGJAM_URL"}}, provider: slowpoke{created: envelope("")},
			terminal: ready + "Secrets [LOGJAM_URL] already exist on app collider. They won't be set automatically.\n\n" + toSet + secrets,
		},
		{
			name: "an escape character in a secret", provider: slowpoke{created: `{"id":"x","config":{"A":"\u001b[2J"}}`},
			terminal: asked + toSet + "A: \x1b[2J\n",
		},
		{
			name: "name taken in the app", registration: flytest.Registration{App: "collider", AppExtension: "collider-logs"}, unasked: true,
			terminal: "Error: A Logjam log stream named collider-logs already exists for app collider\n", exit: 1,
			err: "A Logjam log stream named collider-logs already exists for app collider",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var waited []time.Duration
			fly := waiting(t, &c.provider, &waited)
			asked := false
			fly.Observe = func(flytest.Exchange) { asked = true }
			fly.Registration = c.registration
			fly.Registration.DisplayName, fly.Registration.ResourceName = "Logjam", "log stream"
			got, err := fly.Create(t.Context(), flyext.ProvisionRequest{ID: "x", Name: "small", OrganizationID: "M03FclA4m", PrimaryRegion: "mad"})
			if got.Terminal != c.terminal || got.ExitStatus != c.exit {
				t.Errorf("got exit status %d and the output\n%swant exit status %d and the output\n%s", got.ExitStatus, got.Terminal, c.exit, c.terminal)
			}
			if (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
				t.Errorf("error %v, want %s", err, c.err)
			}
			if (got.Extension == nil) != (err != nil) {
				t.Errorf("extension %v with error %v", got.Extension, err)
			}
			if (got.Warning == "") != (c.warning == "") || !strings.Contains(got.Warning, c.warning) {
				t.Errorf("got warning %q, want %q", got.Warning, c.warning)
			}
			if asked == c.unasked {
				t.Errorf("a request was sent: %t, want %t", asked, !c.unasked)
			}
			if want := slices.Repeat([]time.Duration{flytest.PollInterval}, c.polls); !slices.Equal(waited, want) {
				t.Errorf("waited %d times, want %d: %v", len(waited), c.polls, waited)
			}
			if err == nil && strings.Contains(c.terminal, "LOGJAM_URL") && got.Extension.Secrets["LOGJAM_URL"] != "https://u:p@logjam.example" {
				t.Errorf("got secrets %v, want those of the first answer", got.Extension.Secrets)
			}
		})
	}
}

// TestCreateUnregistered checks the output for the zero Registration.
func TestCreateUnregistered(t *testing.T) {
	t.Parallel()
	fly := waiting(t, &slowpoke{created: `{"id":"x","config":{}}`}, new([]time.Duration))
	got, err := fly.Create(t.Context(), flyext.ProvisionRequest{ID: "x", Name: "small", OrganizationID: "M03FclA4m"})
	const want = "Your Example extension (small) is ready. See details and next steps with: flyctl ext example --help\n\nSet the following secrets on your target app.\n"
	if err != nil || got.Terminal != want {
		t.Errorf("got output %q, error %v", got.Terminal, err)
	}
}

func TestAwaitErrors(t *testing.T) {
	t.Parallel()
	var waited []time.Duration
	fly := waiting(t, &slowpoke{polls: []string{making}}, &waited)
	interrupted := errors.New("enough")
	fly.Sleep = func(context.Context, time.Duration) error { return interrupted }
	if _, err := fly.Await(t.Context(), "x"); !errors.Is(err, interrupted) {
		t.Errorf("interrupted: %v", err)
	}
	fly.Sleep = nil
	ctx, cancel := context.WithCancel(t.Context())
	fly.Observe = func(flytest.Exchange) { cancel() }
	if _, err := fly.Await(ctx, "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled during a real wait: %v", err)
	}
	fly.Observe = nil
	_, err := fly.Await(t.Context(), "")
	if err == nil || err.Error() != "flytest: the extension id is empty" {
		t.Errorf("no id: %v", err)
	}
	failing := waiting(t, &slowpoke{polls: []string{`{"id":"x","status":"error","error_message":"There is no room."}`}}, &waited)
	_, err = failing.Await(t.Context(), "x")
	if e, ok := errors.AsType[*flytest.ProvisioningError](err); !ok || e.TimedOut || e.Extension.Status != flyext.Failed || e.Error() != "There is no room." {
		t.Errorf("failed: %v", err)
	}
}
