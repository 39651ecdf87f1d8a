package flyext_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

const (
	ssoBase     = "https://logjam.io/flyio"
	ssoClientID = "elMJpuhA5bXb"
	ssoSecret   = "client-secret-2c1b"
	ssoStateKey = "state-key-0123456789abcdef0123456789"
)

// A world connects clients with handlers by host name, without a network.
type world map[string]http.Handler

func (w world) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer r.Body.Close()
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	h := w[r.URL.Host]
	if h == nil {
		return nil, fmt.Errorf("no such host as %s", r.URL.Host)
	}
	in := r.Clone(r.Context())
	in.RequestURI, in.Host = r.URL.RequestURI(), r.URL.Host
	if in.Body == nil {
		in.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	if err := serveInWorld(h, rec, in); err != nil {
		return nil, err
	}
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	answer := rec.Result()
	answer.Request = r
	return answer, nil
}

func serveInWorld(h http.Handler, w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if v := recover(); v == http.ErrAbortHandler {
			err = io.ErrUnexpectedEOF
		} else if v != nil {
			panic(v)
		}
	}()
	h.ServeHTTP(w, r)
	return nil
}

// A grant is the authorization request that a code was issued for.
type grant struct {
	clientID, redirectURI, challenge, scope string
}

// A fakeFly is a fake of Fly.io's OAuth server. It has one user, who consents to every
// request.
type fakeFly struct {
	mu      sync.Mutex
	grants  map[string]grant // by code
	secrets []string         // issued codes and tokens, which must not be shown or logged
	calls   int              // to token and token/info

	organizations []map[string]string
	application   string           // the uid in the answer of token/info; "" means the client's
	token, info   http.HandlerFunc // replace the handlers of token and token/info
	scope         func(asked string) string
}

func (f *fakeFly) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch r.Method + " " + r.URL.Path {
	case "GET /oauth/authorize":
		q := r.URL.Query()
		if q.Get("response_type") != "code" || q.Get("client_id") == "" || q.Get("code_challenge_method") != "S256" {
			http.Error(w, "authorize: "+r.URL.RawQuery, http.StatusBadRequest)
			return
		}
		code := f.secret("code-")
		f.grants[code] = grant{q.Get("client_id"), q.Get("redirect_uri"), q.Get("code_challenge"), q.Get("scope")}
		back := url.Values{"code": {code}, "state": {q.Get("state")}}
		http.Redirect(w, r, q.Get("redirect_uri")+"?"+back.Encode(), http.StatusFound)
	case "POST /oauth/token":
		f.calls++
		if f.token != nil {
			f.token(w, r)
			return
		}
		f.exchange(w, r)
	case "GET /oauth/token/info":
		f.calls++
		if f.info != nil {
			f.info(w, r)
			return
		}
		f.introspect(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (f *fakeFly) secret(prefix string) string {
	s := prefix + rand.Text()
	f.secrets = append(f.secrets, s)
	return s
}

func (f *fakeFly) exchange(w http.ResponseWriter, r *http.Request) {
	form := func(name string) string { return r.PostFormValue(name) }
	g, ok := f.grants[form("code")]
	delete(f.grants, form("code"))
	sum := sha256.Sum256([]byte(form("code_verifier")))
	switch {
	case form("client_id") != ssoClientID || form("client_secret") != ssoSecret || form("grant_type") != "authorization_code":
		answerJSON(w, http.StatusUnauthorized, `{"error":"invalid_client"}`)
	case !ok || g.clientID != ssoClientID || g.redirectURI != form("redirect_uri") ||
		base64.RawURLEncoding.EncodeToString(sum[:]) != g.challenge:
		answerJSON(w, http.StatusBadRequest, `{"error":"invalid_grant","error_description":"<b>`+form("code")+`</b>"}`)
	default:
		scope := g.scope
		if f.scope != nil {
			scope = f.scope(scope)
		}
		text, _ := json.Marshal(map[string]any{
			"access_token": f.secret("fo1_"), "token_type": "Bearer", "expires_in": 7200,
			"refresh_token": f.secret("refresh-"), "scope": scope, "created_at": 1683733170,
		})
		answerJSON(w, http.StatusOK, string(text))
	}
}

func (f *fakeFly) introspect(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || !strings.HasPrefix(token, "fo1_") {
		answerJSON(w, http.StatusUnauthorized, `{"error":"invalid_token"}`)
		return
	}
	application := ssoClientID
	if f.application != "" {
		application = f.application
	}
	text, _ := json.Marshal(map[string]any{
		"resource_owner_id": "u1", "user_id": "u1", "user_name": "Nathan", "email": "u1@customer.fly.io",
		"organizations": f.organizations, "scope": []string{"read"}, "expires_in": 7200,
		"application": map[string]string{"uid": application}, "created_at": 1686786353,
	})
	answerJSON(w, http.StatusOK, string(text))
}

func answerJSON(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

// An ssoTest has a provider, Fly.io and the users that signed in.
type ssoTest struct {
	t        testing.TB
	world    world
	fly      *fakeFly
	provider *flyext.Provider
	secrets  []string

	mu       sync.Mutex
	now      time.Time
	log      bytes.Buffer
	org      map[string]string // organizations by extension
	signedIn []flyext.Identity
}

// newSSOTest starts a provider and Fly.io. The user is an admin of o1 with the
// extension x1, a member of o2 with x2, and not in o3 with x3.
func newSSOTest(t testing.TB, change ...func(*flyext.SSOConfig)) *ssoTest {
	t.Helper()
	st := &ssoTest{
		t: t, now: time.Unix(1700000000, 0), secrets: []string{ssoSecret, ssoStateKey},
		org: map[string]string{"x1": "o1", "x2": "o2", "x3": "o3", "a/b": "o1"},
		fly: &fakeFly{grants: map[string]grant{}, organizations: []map[string]string{
			{"id": "o1", "role": "admin"}, {"id": "o2", "role": "member"}, {"id": "o4", "role": "auditor"},
		}},
	}
	st.world = world{"api.fly.io": st.fly, "fly.io": st.fly}
	st.provider = st.newProvider(change...)
	st.world["logjam.io"] = st.provider
	t.Cleanup(func() {
		st.t = t
		st.noSecretsIn("the log", st.logged())
	})
	return st
}

func (st *ssoTest) config(change ...func(*flyext.SSOConfig)) flyext.Config {
	sso := &flyext.SSOConfig{
		ClientID: ssoClientID, ClientSecret: ssoSecret, StateKey: ssoStateKey,
		OrganizationOf: func(_ context.Context, extensionID string) (string, error) {
			st.mu.Lock()
			defer st.mu.Unlock()
			if org, ok := st.org[extensionID]; ok {
				return org, nil
			}
			return "", flyext.NotFound("There is no such stream.")
		},
		SignIn: func(w http.ResponseWriter, r *http.Request, id *flyext.Identity) error {
			st.mu.Lock()
			defer st.mu.Unlock()
			st.signedIn = append(st.signedIn, *id)
			http.Redirect(w, r, "/streams/"+id.ExtensionID, http.StatusSeeOther)
			return nil
		},
		HTTPClient: &http.Client{Transport: st.world},
	}
	for _, c := range change {
		c(sso)
	}
	return flyext.Config{
		BaseURL: ssoBase, Verifier: flyext.XSignature("secret"), SSO: sso,
		Now: func() time.Time {
			st.mu.Lock()
			defer st.mu.Unlock()
			return st.now
		},
		Logger: slog.New(slog.NewJSONHandler(&lockedWriter{mu: &st.mu, w: &st.log}, nil)),
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func (st *ssoTest) newProvider(change ...func(*flyext.SSOConfig)) *flyext.Provider {
	st.t.Helper()
	p, err := flyext.New(noProvisioner{}, st.config(change...))
	if err != nil {
		st.t.Fatal(err)
	}
	return p
}

type noProvisioner struct{ flyext.Provisioner }

func (st *ssoTest) advance(d time.Duration) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.now = st.now.Add(d)
}

func (st *ssoTest) move(extensionID, organizationID string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.org[extensionID] = organizationID
}

func (st *ssoTest) logged() string {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.log.String()
}

func (st *ssoTest) noSecretsIn(where, text string) {
	st.t.Helper()
	st.fly.mu.Lock()
	secrets := slices.Concat(st.secrets, st.fly.secrets)
	st.fly.mu.Unlock()
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			st.t.Errorf("%s shows %q:\n%s", where, secret, text)
		}
	}
}

// forget prepares the next input of a fuzz target.
func (st *ssoTest) forget(t testing.TB) {
	st.t, st.fly.secrets = t, nil
	st.log.Reset()
}

// wantNoSignIn fails the test if a user has signed in.
func (st *ssoTest) wantNoSignIn() {
	st.t.Helper()
	if len(st.signedIn) > 0 {
		st.t.Errorf("signed in: %+v, want no sign-in", st.signedIn)
	}
}

// wantRefusal checks the answer and the log record of a refusal, and that no user has
// signed in.
func (st *ssoTest) wantRefusal(p page, status int, code string) {
	st.t.Helper()
	if p.status != status || p.code != code {
		st.t.Errorf("got %d %s, want %d %s", p.status, p.body, status, code)
	}
	if !strings.Contains(st.logged(), `"code":"`+code+`"`) {
		st.t.Errorf("the log has no record with the code %s:\n%s", code, st.logged())
	}
	st.wantNoSignIn()
}
