package flyext_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

const (
	bHeader   = "missing or repeated Authorization: Bearer header"
	bMismatch = "bearer token: does not match"
)

func TestBearerToken(t *testing.T) {
	t.Parallel()
	v := flyext.BearerToken("new", "old")
	for _, c := range []struct {
		name  string
		lines []string
		want  string
	}{
		{"new", []string{"Bearer new"}, ""},
		{"old", []string{"Bearer old"}, ""},
		{"scheme in another case", []string{"bEARER old"}, ""},
		{"next to another scheme", []string{"Signature keyId=x", "Bearer old"}, ""},
		{"no header", nil, bHeader},
		{"another scheme", []string{"Basic new"}, bHeader},
		{"no scheme", []string{"new"}, bHeader},
		{"only the scheme", []string{"Bearer"}, bHeader},
		{"twice", []string{"Bearer new", "Bearer new"}, bHeader},
		{"wrong", []string{"Bearer other"}, bMismatch},
		{"empty", []string{"Bearer "}, bMismatch},
		{"the start of the token", []string{"Bearer ne"}, bMismatch},
		{"the token and more", []string{"Bearer new1"}, bMismatch},
		{"both tokens in one line", []string{"Bearer new, old"}, bMismatch},
		{"in another case", []string{"Bearer NEW"}, bMismatch},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			wantRefusal(t, newAuthenticator(t, v, 0).Check(newPost().set("Authorization", c.lines...).request(t)), c.want)
		})
	}
}

// A service may build a Message itself and verify it.
func TestVerifyMessageMadeByHand(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		verifier flyext.Verifier
		request  *wireRequest
	}{
		"X-Signature":       {flyext.XSignature(signingSecret), newPost().xSignature()},
		"message signature": {flyext.MessageSignature(signingKey), newPost().rfc9421()},
	} {
		base, err := url.Parse(signingBase)
		if err != nil {
			t.Fatal(err)
		}
		m := &flyext.Message{
			Method: c.request.method, Target: c.request.target, Host: c.request.host, Header: c.request.header, Body: []byte(c.request.body),
			BaseURL: base, Now: time.Unix(signingTime, 0),
		}
		for range 2 { // Verify does not use up the nonce
			if v, err := c.verifier.Verify(t.Context(), m); err != nil || len(v.Nonces) != 1 {
				t.Errorf("%s: got %+v, %v", name, v, err)
			}
		}
	}
}

// Each verifier reports its generation, which decides the format of the answer.
func TestGenerations(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		verifier flyext.Verifier
		request  *wireRequest
		want     flyext.Generation
	}{
		"X-Signature":       {flyext.XSignature(signingSecret), newPost().xSignature(), flyext.Generation2},
		"message signature": {flyext.MessageSignature(signingKey), newPost().rfc9421(), flyext.Generation1},
		"bearer token":      {flyext.BearerToken("t"), newPost().set("Authorization", "Bearer t"), flyext.Generation1},
	} {
		if v, err := c.verifier.Verify(t.Context(), c.request.message(t)); err != nil || v.Generation != c.want {
			t.Errorf("%s: got %+v, %v", name, v, err)
		}
	}
}

// A scripted verifier returns fixed results.
type scripted struct {
	verification flyext.Verification
	err          error
}

func (s scripted) Verify(context.Context, *flyext.Message) (flyext.Verification, error) {
	return s.verification, s.err
}

func nonces(keys ...byte) (list []flyext.Nonce) {
	for _, k := range keys {
		list = append(list, flyext.Nonce{Key: [16]byte{k}, Expires: time.Unix(signingTime+int64(k), 0)})
	}
	return list
}

func TestGroups(t *testing.T) {
	t.Parallel()
	later := nonces(1)
	later[0].Expires = later[0].Expires.Add(time.Hour)
	one := scripted{verification: flyext.Verification{Generation: flyext.Generation1, Nonces: nonces(1)}}
	two := scripted{verification: flyext.Verification{Generation: flyext.Generation2, Nonces: nonces(2, 3)}}
	longer := scripted{verification: flyext.Verification{Nonces: later}}
	no, nor := scripted{err: errors.New("no")}, scripted{err: errors.New("nor")}
	for _, c := range []struct {
		name       string
		verifier   flyext.Verifier
		generation flyext.Generation
		nonces     []flyext.Nonce
		errs       []string
	}{
		{"all", flyext.AllOf(one, two), 2, nonces(1, 2, 3), nil},
		{"all, the highest generation first", flyext.AllOf(two, one), 2, nonces(2, 3, 1), nil},
		{"all, a shared nonce counts once and lives longest", flyext.AllOf(one, longer, one), 1, later, nil},
		{"all but the first", flyext.AllOf(no, one), 0, nil, []string{"no"}},
		{"all but the last", flyext.AllOf(one, two, no), 0, nil, []string{"no"}},
		{"any, the first decides", flyext.AnyOf(one, two), 1, nonces(1, 2, 3), nil},
		{"any, the first decides though the second is lower", flyext.AnyOf(two, one), 2, nonces(2, 3, 1), nil},
		{"any, a shared nonce counts once", flyext.AnyOf(one, one), 1, nonces(1), nil},
		{"any, the first says no", flyext.AnyOf(no, two), 2, nonces(2, 3), nil},
		{"any, the last says no", flyext.AnyOf(two, no), 2, nonces(2, 3), nil},
		{"any, all refuse", flyext.AnyOf(no, nor), 0, nil, []string{"no", "nor"}},
		{"any of groups", flyext.AnyOf(flyext.AllOf(one, no), flyext.AllOf(two)), 2, nonces(2, 3), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v, err := c.verifier.Verify(t.Context(), &flyext.Message{})
			if v.Generation != c.generation || !slices.Equal(v.Nonces, c.nonces) {
				t.Errorf("got %+v, want generation %d, nonces %v", v, c.generation, c.nonces)
			}
			if (err == nil) != (c.errs == nil) || err != nil && err.Error() != strings.Join(c.errs, "\n") {
				t.Errorf("got the error %v, want %v", err, c.errs)
			}
		})
	}
}

// NewAuthenticator refuses a verifier that would accept anyone's requests. Its Verify
// method accepts nothing.
func TestVerifierMistakes(t *testing.T) {
	t.Parallel()
	var none flyext.Verifier
	good := flyext.BearerToken("t")
	for name, v := range map[string]flyext.Verifier{
		"no X-Signature secret":        flyext.XSignature(),
		"empty X-Signature secret":     flyext.XSignature(""),
		"one empty X-Signature secret": flyext.XSignature("good", ""),
		"no message signature key":     flyext.MessageSignature(),
		"key without secret":           flyext.MessageSignature(flyext.Key{ID: "k"}),
		"key without id":               flyext.MessageSignature(flyext.Key{Secret: "s"}),
		"one key without secret":       flyext.MessageSignature(signingKey, flyext.Key{ID: "k"}),
		"no token":                     flyext.BearerToken(),
		"empty token":                  flyext.BearerToken(""),
		"one empty token":              flyext.BearerToken("t", ""),
		"token with a space":           flyext.BearerToken(" t"),
		"all of no verifiers":          flyext.AllOf(),
		"any of no verifiers":          flyext.AnyOf(),
		"all of nil":                   flyext.AllOf(good, none),
		"any of nil":                   flyext.AnyOf(none, good),
		"any of all of no verifiers":   flyext.AnyOf(good, flyext.AllOf()),
		"all of an empty secret":       flyext.AllOf(flyext.XSignature(""), good),
		"negative MaxAge":              flyext.Policy{MaxAge: -1}.XSignature("s"),
		"negative ClockSkew":           flyext.Policy{ClockSkew: -1}.MessageSignature(signingKey),
		"component in upper case":      flyext.Policy{RequireComponents: []string{"Host"}}.MessageSignature(signingKey),
		"component without name":       flyext.Policy{RequireComponents: []string{""}}.MessageSignature(signingKey),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := flyext.Config{BaseURL: signingBase, Verifier: v}
			if a, err := flyext.NewAuthenticator(config); err == nil || a != nil {
				t.Errorf("NewAuthenticator accepted it: %v, %v", a, err)
			}
			m := &flyext.Message{Method: "GET", Header: http.Header{"Authorization": {"Bearer "}, "X-Signature": {""}}}
			if got, err := v.Verify(t.Context(), m); err == nil || got.Generation != 0 || len(got.Nonces) > 0 {
				t.Errorf("Verify returned %+v, %v; want an error", got, err)
			}
		})
	}
	if _, err := flyext.NewAuthenticator(flyext.Config{BaseURL: signingBase}); err == nil {
		t.Error("NewAuthenticator accepted a nil verifier")
	}
}

// Anyone can compute the MAC of an empty secret.
func TestEmptySecretVerifiesNothing(t *testing.T) {
	t.Parallel()
	emptyMAC := newPost().tampered(func(w *wireRequest) { w.secret = "\x00" }) // pads to the same HMAC key as ""
	if _, err := flyext.XSignature("").Verify(t.Context(), emptyMAC.xSignature().message(t)); err == nil {
		t.Error("a verifier with an empty secret accepted a message")
	}
}

func (w *wireRequest) message(t *testing.T) *flyext.Message {
	t.Helper()
	var seen *flyext.Message
	spy := verifierFunc(func(m *flyext.Message) { seen = m })
	if err := newAuthenticator(t, spy, 0).Check(w.request(t)); err != nil {
		t.Fatal(err)
	}
	return seen
}

type verifierFunc func(*flyext.Message)

func (f verifierFunc) Verify(_ context.Context, m *flyext.Message) (flyext.Verification, error) {
	f(m)
	return flyext.Verification{}, nil
}

func TestVerifiersRedactThemselves(t *testing.T) {
	t.Parallel()
	const secret = "canary-4711"
	key := flyext.Key{ID: "k", Secret: secret}
	for name, v := range map[string]any{
		"XSignature":       flyext.XSignature(secret),
		"MessageSignature": flyext.MessageSignature(key),
		"BearerToken":      flyext.BearerToken(secret),
		"AllOf":            flyext.AllOf(flyext.XSignature(secret), flyext.BearerToken(secret)),
		"AnyOf":            flyext.AnyOf(flyext.XSignature(secret)),
		"Key":              key,
		"*Key":             &key,
		"[]Key":            []flyext.Key{key},
		"map of Key":       map[string]flyext.Key{"a": key},
		"struct of Key":    struct{ K flyext.Key }{key},
		"Config":           flyext.Config{BaseURL: signingBase, Verifier: flyext.XSignature(secret)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "v", v)
			slog.New(slog.NewTextHandler(&log, nil)).Info("m", "v", v)
			prints := []string{log.String()}
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
				prints = append(prints, fmt.Sprintf(verb, v))
			}
			if _, isConfig := v.(flyext.Config); !isConfig { // Config has funcs, which encoding/json refuses
				text, err := json.Marshal(v)
				if err != nil {
					t.Fatal(err)
				}
				prints = append(prints, string(text))
			}
			if _, ok := v.(flyext.Verifier); ok { // a Verifier does not show the hashes of its tokens either
				for _, p := range prints[1:] {
					if strings.Trim(p, `"`) != "[redacted]" {
						t.Errorf("the verifier is printed as %s", p)
					}
				}
			}
			for _, p := range prints {
				for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprint([]byte(secret))} {
					if strings.Contains(p, form) {
						t.Errorf("the secret is printed: %s", p)
					}
				}
			}
		})
	}
}

// A printed key shows its id.
func TestKeyPrintsItsID(t *testing.T) {
	t.Parallel()
	key := flyext.Key{ID: "k", Secret: "s"}
	text, err := json.Marshal(key)
	for _, got := range []string{fmt.Sprint(key), key.LogValue().String(), strings.Trim(string(text), `"`)} {
		if got != "Key(k)" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

// A Verifier of the service that replaces the whole Message gets a logged 500.
func TestVerifierReplacesTheMessage(t *testing.T) {
	t.Parallel()
	for name, replace := range map[string]verifierFunc{
		"all fields": func(m *flyext.Message) { *m = flyext.Message{Method: m.Method, Body: m.Body} },
		"the method": func(m *flyext.Message) { m.Method = "POST" },
	} {
		p := &testProvisioner{}
		log := &logBuffer{}
		h := newProvider(t, p, func(c *flyext.Config) { c.Verifier, c.Logger = replace, log.logger() })
		w := do(h, httptest.NewRequest("PATCH", "/flyio/extensions/x1", strings.NewReader(`{"name":"n"}`)))
		want, calls := 500, 0
		if name == "the method" { // the route does not depend on it
			want, calls = 200, 1
		}
		if w.Code != want || len(p.recorded()) != calls || (want == 500) != strings.Contains(log.text(), "panic") {
			t.Errorf("%s: got %d %s and the calls %v, want %d and %d calls; log: %s", name, w.Code, w.Body, p.recorded(), want, calls, log.text())
		}
	}
}
