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

// A slowpoke is a provider whose GET answers one text after the other, the last
// one again and again.
type slowpoke struct {
	created string // what POST answers
	status  int    // of POST; 0 means 200
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

// waiting returns a Fly.io that notes how long it would have waited.
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

func TestCreate(t *testing.T) {
	t.Parallel()
	envelope := func(status string) string {
		return `{"id":"x","config":{"LOGJAM_URL":"https://u:p@logjam.example","LOGJAM_REGION":"mad"},"name":"collider-prod"` + status + `}`
	}
	const secrets = "\nSetting the following secrets on your app:\nLOGJAM_REGION: mad\nLOGJAM_URL: https://u:p@logjam.example\n"
	for _, c := range []struct {
		name     string
		provider slowpoke
		polls    int // that were waited for
		terminal string
		err      string
	}{
		{
			name: "at once", provider: slowpoke{created: envelope("")},
			terminal: "Your extension collider-prod is ready.\n" + secrets,
		},
		{
			name: "ready", provider: slowpoke{created: envelope(`,"status":"ready"`)},
			terminal: "Your extension collider-prod is ready.\n" + secrets,
		},
		{
			name: "later", provider: slowpoke{created: envelope(`,"status":"provisioning"`), polls: []string{making, making, made}},
			polls:    2,
			terminal: "Waiting for collider-prod to be ready ...\nYour extension collider-prod is ready.\n" + secrets,
		},
		{
			name: "a status of one's own", provider: slowpoke{created: envelope(`,"status":"warming up"`), polls: []string{made}},
			terminal: "Waiting for collider-prod to be ready ...\nYour extension collider-prod is ready.\n" + secrets,
		},
		{
			name: "no secrets", provider: slowpoke{created: `{"id":"x","config":{}}`},
			terminal: "Your extension small is ready.\n",
		},
		{
			name: "generation 1", provider: slowpoke{created: `{"LOGJAM_URL":"https://u:p@logjam.example"}`},
			terminal: "Your extension small is ready.\n\nSetting the following secrets on your app:\nLOGJAM_URL: https://u:p@logjam.example\n",
		},
		{
			name: "failed at once", provider: slowpoke{created: envelope(`,"status":"error","error_message":"There is no room."`)},
			terminal: "Error: There is no room.\n", err: "There is no room.",
		},
		{
			name:     "failed later",
			provider: slowpoke{created: envelope(`,"status":"provisioning"`), polls: []string{making, `{"id":"x","status":"error"}`}},
			polls:    1,
			terminal: "Waiting for collider-prod to be ready ...\nError: provisioning failed\n", err: "provisioning failed",
		},
		{
			name: "never", provider: slowpoke{created: envelope(`,"status":"provisioning"`), polls: []string{making}},
			polls:    120,
			terminal: "Waiting for collider-prod to be ready ...\nError: not ready after 4m0s (the status is \"provisioning\")\n",
			err:      `not ready after 4m0s (the status is "provisioning")`,
		},
		{
			name: "refused", provider: slowpoke{status: http.StatusUnprocessableEntity, created: `{"error":"invalid","message":"There is no region xyz."}`},
			terminal: "Error: input:3:2: createAddOn There is no region xyz.\n", err: "422 invalid: There is no region xyz.",
		},
		{
			name: "a number for a secret", provider: slowpoke{created: `{"id":"x","config":{"PORT":5432}}`},
			terminal: "Error: the secret \"PORT\" is a number; flyctl demands a string\n",
			err:      `flytest: the secret "PORT" is a number; flyctl demands a string`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var waited []time.Duration
			fly := waiting(t, &c.provider, &waited)
			got, err := fly.Create(t.Context(), flyext.ProvisionRequest{ID: "x", Name: "small", OrganizationID: "M03FclA4m"})
			if got.Terminal != c.terminal {
				t.Errorf("the customer reads:\n%swant:\n%s", got.Terminal, c.terminal)
			}
			if (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
				t.Errorf("error %v, want %s", err, c.err)
			}
			if (got.Extension == nil) != (err != nil) {
				t.Errorf("extension %v with error %v", got.Extension, err)
			}
			if want := slices.Repeat([]time.Duration{flytest.PollInterval}, c.polls); !slices.Equal(waited, want) {
				t.Errorf("waited %d times, want %d: %v", len(waited), c.polls, waited)
			}
			if err == nil && strings.Contains(c.terminal, "LOGJAM_URL") && got.Extension.Secrets["LOGJAM_URL"] != "https://u:p@logjam.example" {
				t.Errorf("secrets %v: not those of the first answer", got.Extension.Secrets)
			}
		})
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
		t.Errorf("cancelled while really waiting: %v", err)
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
