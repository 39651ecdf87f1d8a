package flytest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// asking changes the answers of the simulated sign-on to the provider.
func asking(change func(r *http.Request, a *answered)) func(w *world) {
	return func(w *world) {
		w.asking = func(fly http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				answer, err := fly.RoundTrip(r)
				if err != nil {
					return nil, err
				}
				defer answer.Body.Close()
				body, err := io.ReadAll(answer.Body)
				if err != nil {
					return nil, err
				}
				a := &answered{answer.StatusCode, answer.Header, body}
				change(r, a)
				answer.StatusCode, answer.Body = a.status, io.NopCloser(bytes.NewReader(a.body))
				answer.ContentLength = int64(len(a.body))
				return answer, nil
			})
		}
	}
}

// A handshakeMemory makes a provider careless: the provider uses the state and the
// cookies of the browser that it redirected last, instead of those of the browser
// that returns.
type handshakeMemory struct {
	mu      sync.Mutex
	state   string
	cookies []*http.Cookie
}

// remember records a redirect to Fly.io.
func (h *handshakeMemory) remember(a *answered) {
	to, err := url.Parse(a.header.Get("Location"))
	if err != nil || to.Path != flytest.AuthorizeEndpoint {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.state = to.Query().Get("state")
	h.cookies = (&http.Response{Header: a.header}).Cookies()
}

// returning changes requests to the callback.
func returning(change func(h *handshakeMemory, r *http.Request, query url.Values)) func(w *world) {
	return func(w *world) {
		h := &handshakeMemory{}
		w.spoil = func(_ *world, _ *http.Request, a *answered) { h.remember(a) }
		w.handling = func(provider http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if strings.HasSuffix(r.URL.Path, "/callback") {
					h.mu.Lock()
					query := r.URL.Query()
					change(h, r, query)
					r.URL.RawQuery = query.Encode()
					r.RequestURI = r.URL.RequestURI()
					h.mu.Unlock()
				}
				provider.ServeHTTP(rw, r)
			})
		}
	}
}

// redirecting changes the parameters of the redirect to Fly.io.
func redirecting(change func(query url.Values)) func(w *world) {
	return func(w *world) {
		w.spoil = func(_ *world, _ *http.Request, a *answered) {
			to, err := url.Parse(a.header.Get("Location"))
			if err != nil || to.Path != flytest.AuthorizeEndpoint {
				return
			}
			query := to.Query()
			change(query)
			to.RawQuery = query.Encode()
			a.header.Set("Location", to.String())
		}
	}
}

var ssoDefects = []defect{
	{id: "sso-redirect", name: "request_type", breaks: redirecting(func(q url.Values) {
		q.Set("request_type", "code")
		q.Del("response_type")
	})},
	{id: "sso-redirect", name: "scope", breaks: redirecting(func(q url.Values) { q.Set("scope", "write") })},
	{
		id: "sso-redirect", name: "scope of generation 1", format: flytest.FormatRFC9421,
		breaks: redirecting(func(q url.Values) { q.Set("scope", `{"organization_id":"another","permission":"admin"}`) }),
	},
	{id: "sso-redirect", name: "another way back", breaks: redirecting(func(q url.Values) {
		q.Set("redirect_uri", "https://another.example/callback")
	})},
	{id: "sso-redirect", name: "another application", breaks: redirecting(func(q url.Values) { q.Set("client_id", "another") })},
	{id: "sso-redirect", name: "no state", breaks: redirecting(func(q url.Values) { q.Del("state") })},
	{id: "sso-redirect", name: "another server", breaks: func(w *world) {
		w.signingOn = func(sso *flyext.SSOConfig) { sso.OAuthURL = "https://another.example" }
	}},
	{id: "sso-redirect", name: "a page", breaks: func(w *world) {
		w.spoil = func(_ *world, r *http.Request, a *answered) {
			if strings.HasSuffix(r.URL.Path, "/sso") && a.status == http.StatusFound {
				a.status, a.body = http.StatusOK, []byte("Sign in first.")
			}
		}
	}},
	{id: "sso-state", name: "the same for all", breaks: func(w *world) {
		const constant = "the-same-state-for-all"
		returning(func(h *handshakeMemory, _ *http.Request, query url.Values) {
			if query.Get("state") == constant {
				query.Set("state", h.state)
			}
		})(w)
		spoil := w.spoil
		w.spoil = func(w *world, r *http.Request, a *answered) {
			spoil(w, r, a)
			other := &world{}
			redirecting(func(q url.Values) { q.Set("state", constant) })(other)
			other.spoil(w, r, a)
		}
	}},
	{id: "sso-unknown-id", breaks: func(w *world) {
		w.signingOn = func(sso *flyext.SSOConfig) {
			of := sso.OrganizationOf
			sso.OrganizationOf = func(ctx context.Context, id string) (string, error) {
				if organization, err := of(ctx, id); err == nil {
					return organization, nil
				}
				return "M03FclA4m", nil
			}
		}
	}},
	{id: "sso-organization", breaks: func(w *world) {
		w.spoil = func(_ *world, r *http.Request, a *answered) {
			if strings.Contains(r.URL.Path, "/organizations/") {
				a.header.Set("Location", strings.Replace(a.header.Get("Location"), "response_type=code", "response_type=token", 1))
			}
		}
	}},
	{id: "sso-sign-in", name: "an error", breaks: func(w *world) {
		w.signingOn = func(sso *flyext.SSOConfig) {
			sso.SignIn = func(http.ResponseWriter, *http.Request, *flyext.Identity) error { return errInternal }
		}
	}},
	{id: "sso-sign-in", name: "the browser does not send the cookie after Fly.io", breaks: func(w *world) {
		w.spoil = func(_ *world, _ *http.Request, a *answered) {
			for i, cookie := range a.header["Set-Cookie"] {
				a.header["Set-Cookie"][i] = strings.Replace(cookie, "SameSite=Lax", "SameSite=Strict", 1)
			}
		}
	}},
	{id: "sso-token-type", breaks: asking(func(r *http.Request, a *answered) {
		if r.URL.Path == flytest.TokenEndpoint && member(a.body, "token_type") == nil {
			a.status = http.StatusBadGateway
		}
	})},
	{id: "sso-denied", breaks: func(w *world) {
		w.spoil = func(w *world, r *http.Request, a *answered) {
			if r.URL.Query().Get("error") == "access_denied" {
				a.status = http.StatusSeeOther
				a.header.Set("Location", "/streams/"+url.PathEscape(w.standing()))
			}
		}
	}},
	{id: "sso-denied", name: "an error of the provider's", breaks: func(w *world) {
		w.spoil = func(w *world, r *http.Request, a *answered) {
			if r.URL.Query().Get("error") == "access_denied" {
				a.status = http.StatusInternalServerError
			}
		}
	}},
	{id: "sso-no-member", breaks: asking(func(r *http.Request, a *answered) {
		if r.URL.Path == flytest.TokenInfoEndpoint && a.status == http.StatusOK {
			withMember(a, "organizations", []map[string]string{{"id": "flytest-organization", "role": "admin"}})
		}
	})},
	{id: "sso-no-member", name: "another screen for each visit", breaks: func(w *world) {
		asking(func(r *http.Request, a *answered) {
			if r.URL.Path == flytest.TokenInfoEndpoint && a.status == http.StatusOK {
				withMember(a, "organizations", []map[string]string{{"id": "flytest-organization", "role": "admin"}})
			}
		})(w)
		w.signingOn = func(sso *flyext.SSOConfig) {
			sso.SignIn = func(rw http.ResponseWriter, r *http.Request, id *flyext.Identity) error {
				http.Redirect(rw, r, "https://dashboard.example/visits/"+rand.Text()+"?token="+rand.Text(), http.StatusSeeOther)
				return nil
			}
		}
	}},
	{id: "sso-foreign-token", breaks: asking(func(r *http.Request, a *answered) {
		if r.URL.Path == flytest.TokenInfoEndpoint && a.status == http.StatusOK {
			withMember(a, "application", map[string]string{"uid": "logjam"})
		}
	})},
	{id: "sso-forged-state", name: "missing", breaks: returning(func(h *handshakeMemory, _ *http.Request, query url.Values) {
		if !query.Has("state") {
			query.Set("state", h.state)
		}
	})},
	{id: "sso-forged-state", name: "changed", breaks: returning(func(h *handshakeMemory, _ *http.Request, query url.Values) {
		if query.Has("state") {
			query.Set("state", h.state)
		}
	})},
	{id: "sso-other-browser", breaks: returning(func(h *handshakeMemory, r *http.Request, _ url.Values) {
		if len(r.Cookies()) == 0 {
			for _, c := range h.cookies {
				r.AddCookie(c)
			}
		}
	})},
	{id: "sso-other-session", breaks: func(w *world) {
		w.signingOn = func(sso *flyext.SSOConfig) {
			signIn := sso.SignIn
			sso.SignIn = func(rw http.ResponseWriter, r *http.Request, id *flyext.Identity) error {
				http.SetCookie(rw, &http.Cookie{Name: "session", Value: "1", Path: "/"})
				return signIn(rw, r, id)
			}
			sso.SignedIn = func(r *http.Request, to flyext.Destination) string {
				if _, err := r.Cookie("session"); err != nil {
					return ""
				}
				return "/streams/" + url.PathEscape(to.ExtensionID)
			}
		}
	}},
	{id: "sso-fly-fails", name: "token info", breaks: asking(func(r *http.Request, a *answered) {
		if r.URL.Path == flytest.TokenInfoEndpoint && a.status >= 500 {
			a.status = http.StatusOK
			a.header.Set("Content-Type", "application/json")
			a.body = []byte(`{"user_id":"flytest-user","organizations":[{"id":"flytest-organization","role":"admin"}],"application":{"uid":"logjam"}}`)
		}
	})},
	{id: "sso-fly-fails", breaks: asking(func(r *http.Request, a *answered) {
		switch {
		case r.URL.Path == flytest.TokenEndpoint && a.status >= 500:
			a.status, a.body = http.StatusOK, []byte(`{"access_token":"made-up","token_type":"Bearer","expires_in":7200}`)
			a.header.Set("Content-Type", "application/json")
		case r.URL.Path == flytest.TokenInfoEndpoint && a.status != http.StatusOK:
			a.status = http.StatusOK
			a.header.Set("Content-Type", "application/json")
			a.body = []byte(`{"user_id":"flytest-user","organizations":[{"id":"flytest-organization","role":"admin"}],"application":{"uid":"logjam"}}`)
		}
	})},
}

// standing returns the extension of the last sign-on.
func (w *world) standing() string {
	w.service.mu.Lock()
	defer w.service.mu.Unlock()
	return w.last
}

var errorDefects = []defect{
	{id: "uniform", name: "the reason", breaks: func(w *world) {
		w.verifying = func(v flyext.Verifier) flyext.Verifier {
			return verifierFunc(func(ctx context.Context, m *flyext.Message) (flyext.Verification, error) {
				verified, err := v.Verify(ctx, m)
				if err != nil {
					err = &flyext.Error{Status: http.StatusUnauthorized, Code: "unauthenticated", Message: err.Error()}
				}
				return verified, err
			})
		}
	}},
	{id: "uniform", name: "403 to replays", breaks: func(w *world) {
		var store seen
		var replayed atomic.Bool
		w.config.ReplayStore = storeFunc(func(_ context.Context, n flyext.Nonce) (bool, error) {
			fresh := store.add(n)
			replayed.Store(!fresh)
			return fresh, nil
		})
		w.spoil = func(_ *world, _ *http.Request, a *answered) {
			if a.status == http.StatusUnauthorized && replayed.Load() {
				a.status = http.StatusForbidden
			}
		}
	}},
	{id: "uniform", name: "JSON first", breaks: func(w *world) {
		w.spoil = func(_ *world, r *http.Request, a *answered) {
			if a.status == http.StatusUnauthorized && r.ContentLength == int64(len(`{"id":`)) {
				a.status = http.StatusBadRequest
			}
		}
	}},
	{id: "uniform", name: "404 before 401", breaks: func(w *world) {
		w.spoil = func(w *world, r *http.Request, a *answered) {
			w.service.mu.Lock()
			defer w.service.mu.Unlock()
			id := strings.TrimPrefix(r.URL.Path, "/flyio/extensions/")
			if r.Method == http.MethodPatch && a.status == http.StatusUnauthorized && w.service.streams[id] == nil {
				a.status = http.StatusNotFound
			}
		}
	}},
	{id: "malformed-body", name: "the first of two objects", breaks: func(w *world) {
		w.handling = func(provider http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				head, _ := io.ReadAll(io.LimitReader(r.Body, 1<<16))
				if bytes.HasSuffix(head, []byte("} {}")) {
					r.Header.Set("Two-Objects", "yes")
				}
				r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(head), r.Body))
				provider.ServeHTTP(rw, r)
			})
		}
		w.spoil = func(_ *world, r *http.Request, a *answered) {
			if r.Header.Get("Two-Objects") != "" && a.status == http.StatusBadRequest {
				a.status, a.body = http.StatusOK, []byte(`{"id":"x","config":{}}`)
			}
		}
	}},
	{id: "malformed-body", breaks: spoilingCode(flyext.CodeMalformedBody, func(a *answered) { a.status = http.StatusInternalServerError })},
	{id: "missing-id", breaks: spoilingCode(flyext.CodeInvalidField, func(a *answered) {
		a.status, a.body = http.StatusOK, []byte(`{"id":"x","config":{}}`)
	})},
	{id: "body-limit", breaks: func(w *world) { w.config.MaxBodyBytes = 1 << 40 }},
	{id: "error-message", name: "plain text", breaks: spoilingCode(flyext.CodeNotFound, func(a *answered) { a.body = []byte("Not Found") })},
	{id: "error-message", name: "many lines", breaks: spoilingCode(flyext.CodeInvalidField, func(a *answered) {
		withMember(a, "message", "Something\nis missing.")
	})},
	{id: "no-secret", name: "the signing secret", breaks: spoilingCode(flyext.CodeInvalidField, func(a *answered) {
		withMember(a, "message", "No id, under "+secret+".")
	})},
	{id: "no-secret", name: "a password, in a header", breaks: func(w *world) {
		w.spoil = func(w *world, r *http.Request, a *answered) {
			if a.status != http.StatusUnauthorized {
				return
			}
			w.service.mu.Lock()
			defer w.service.mu.Unlock()
			if x := w.service.streams[w.last]; x != nil {
				a.header.Set("X-Debug", x.Secrets["LOGJAM_URL"])
			}
		}
	}},
	{
		id: "no-secret", name: "a stack trace", also: []string{"error-message"}, // a stack trace is not a JSON message
		breaks: spoilingCode(flyext.CodeInvalidField, func(a *answered) { a.body = []byte("Error: no id\n    at provision (/srv/logjam.js:7:11)") }),
	},
}

// spoilingCode changes the errors with a code.
func spoilingCode(code string, spoil func(a *answered)) func(w *world) {
	return func(w *world) {
		w.spoil = func(_ *world, _ *http.Request, a *answered) {
			if member(a.body, "error") == code {
				spoil(a)
			}
		}
	}
}
