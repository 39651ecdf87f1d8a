package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// serve starts a Logjam and returns a Fly.io that uses it.
func serve(t *testing.T) *flytest.Platform {
	t.Helper()
	const baseURL, secret = "https://example.com/flyio", "signing-secret"
	provider, err := flyext.New(&logjam{}, flyext.Config{BaseURL: baseURL, Verifier: flyext.XSignature(secret)})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewTLSServer(provider)
	t.Cleanup(server.Close)
	return &flytest.Platform{BaseURL: baseURL, Signer: flytest.XSignature(secret), Client: server.Client()}
}

func provision(t *testing.T, fly *flytest.Platform, id string) *flyext.Extension {
	t.Helper()
	x, err := fly.Provision(t.Context(), flyext.ProvisionRequest{ID: id, Name: "collider-prod", OrganizationID: "M03FclA4m"})
	if err != nil {
		t.Fatal(err)
	}
	if x.ID != id || x.Name != "collider-prod" || len(x.Secrets["LOGJAM_TOKEN"]) < 26 {
		t.Fatalf("got id %q, name %q, secrets %v", x.ID, x.Name, x.Secrets)
	}
	return x
}

func TestProvisionAgain(t *testing.T) {
	t.Parallel()
	fly := serve(t)
	first, again, other := provision(t, fly, "a/b"), provision(t, fly, "a/b"), provision(t, fly, "c")
	if first.Secrets["LOGJAM_TOKEN"] != again.Secrets["LOGJAM_TOKEN"] {
		t.Error("the retry returned a different secret")
	}
	if first.Secrets["LOGJAM_TOKEN"] == other.Secrets["LOGJAM_TOKEN"] {
		t.Error("two extensions have the same secret")
	}
}

// TestProvisionForAnotherOrganization checks that an organization cannot get
// another's secrets by the id of its stream.
func TestProvisionForAnotherOrganization(t *testing.T) {
	t.Parallel()
	fly := serve(t)
	provision(t, fly, "a/b")
	x, err := fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "a/b", Name: "collider-prod", OrganizationID: "another"})
	if e, ok := errors.AsType[*flyext.Error](err); !ok || e.Status != http.StatusConflict || x != nil {
		t.Errorf("got %v, %v, want 409", x, err)
	}
}

func TestUpdate(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		req  flyext.UpdateRequest
		want string
	}{
		{"another name", flyext.UpdateRequest{Name: flyext.OptionalOf("collider-test")}, "collider-test"},
		{"no name", flyext.UpdateRequest{ReadRegions: flyext.OptionalOf([]string{})}, "collider-prod"},
		{"null", flyext.UpdateRequest{Name: flyext.OptionalNull[string]()}, "collider-prod"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			fly := serve(t)
			secret := provision(t, fly, "a/b").Secrets["LOGJAM_TOKEN"]
			if x, err := fly.Update(t.Context(), "a/b", test.req); err != nil || x.Name != test.want {
				t.Fatalf("update: got %+v, %v", x, err)
			}
			x, err := fly.Fetch(t.Context(), "a/b")
			if err != nil || x.Name != test.want || x.Status != flyext.Ready || x.Secrets["LOGJAM_TOKEN"] != secret {
				t.Errorf("fetch: got %+v, %v", x, err)
			}
		})
	}
}

func TestDeprovision(t *testing.T) {
	t.Parallel()
	fly := serve(t)
	provision(t, fly, "a/b")
	for range 2 {
		if err := fly.Deprovision(t.Context(), "a/b"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "a/b", OrganizationID: "M03FclA4m"})
	if e, ok := errors.AsType[*flyext.Error](err); !ok || e.Status != http.StatusGone {
		t.Errorf("a late retry of POST: got %v, want 410", err)
	}
	for id, want := range map[string]int{"a/b": http.StatusGone, "never seen": http.StatusNotFound} {
		_, errFetch := fly.Fetch(t.Context(), id)
		_, errUpdate := fly.Update(t.Context(), id, flyext.UpdateRequest{Name: flyext.OptionalOf("collider-test")})
		for _, err := range []error{errFetch, errUpdate} {
			if e, ok := errors.AsType[*flyext.Error](err); !ok || e.Status != want {
				t.Errorf("%s: got %v, want %d", id, err, want)
			}
		}
	}
}

// TestRefusals checks the responses to a wrong signature and to an unsupported
// request.
func TestRefusals(t *testing.T) {
	t.Parallel()
	fly := serve(t)
	provision(t, fly, "a/b")
	stranger := *fly
	stranger.Signer = flytest.XSignature("another-secret")
	for _, test := range []struct {
		name, path string
		by         *flytest.Platform
		status     int
	}{
		{"wrong secret", flytest.ExtensionPath("a/b"), &stranger, http.StatusUnauthorized},
		{"sign-in", flytest.ExtensionPath("a/b") + "/sso", fly, http.StatusNotImplemented},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			r, err := test.by.NewRequest(t.Context(), http.MethodGet, test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			answer, err := test.by.Do(r)
			if err != nil || answer.StatusCode != test.status {
				t.Errorf("got %v, %v, want %d", answer, err, test.status)
			}
		})
	}
}
