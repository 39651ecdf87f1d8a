package flytest_test

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// of limits a defect of a verifier to requests with the given methods.
func of(wrong func(flyext.Verifier) flyext.Verifier, methods ...string) func(w *world) {
	return func(w *world) {
		w.verifying = func(v flyext.Verifier) flyext.Verifier {
			other := wrong(v)
			return verifierFunc(func(ctx context.Context, m *flyext.Message) (flyext.Verification, error) {
				if slices.Contains(methods, m.Method) {
					return other.Verify(ctx, m)
				}
				return v.Verify(ctx, m)
			})
		}
	}
}

// where also accepts messages that satisfy condition and that other verifies.
func where(condition func(m *flyext.Message) bool, other flyext.Verifier) func(flyext.Verifier) flyext.Verifier {
	return also(verifierFunc(func(ctx context.Context, m *flyext.Message) (flyext.Verification, error) {
		if !condition(m) {
			return flyext.Verification{}, errInternal
		}
		return other.Verify(ctx, m)
	}))
}

// admitting accepts every message.
func admitting(generation flyext.Generation) flyext.Verifier {
	return verifierFunc(func(context.Context, *flyext.Message) (flyext.Verification, error) {
		return flyext.Verification{Generation: generation}, nil
	})
}

func withoutSignature(m *flyext.Message) bool {
	return m.Header.Get("X-Signature") == "" && m.Header.Get("Signature") == ""
}

// covers reports whether an RFC 9421 signature covers all of the components.
func covers(m *flyext.Message, names ...string) bool {
	for _, name := range names {
		if !strings.Contains(m.Header.Get("Signature-Input"), `"`+name+`"`) {
			return false
		}
	}
	return true
}

// lax returns a verifier of message signatures that requires no coverage.
func lax() flyext.Verifier {
	return flyext.AllOf(flyext.BearerToken(token), flyext.Policy{InsecureSkipCoverage: true}.MessageSignature(key))
}

// forgetting drops the nonces of requests with the given methods.
func forgetting(methods ...string) func(w *world) {
	return of(func(v flyext.Verifier) flyext.Verifier {
		return verifierFunc(func(ctx context.Context, m *flyext.Message) (flyext.Verification, error) {
			verified, err := v.Verify(ctx, m)
			verified.Nonces = nil
			return verified, err
		})
	}, methods...)
}

// routeDefects are defects that affect only some requests, such as one method.
var routeDefects = []defect{
	{id: "raw-bytes", name: "of a body", breaks: func(w *world) {
		w.verifying = before(func(m *flyext.Message) error {
			again := jsontext.Value(slices.Clone(m.Body))
			if again.Compact() == nil && string(again) != string(m.Body) {
				return &flyext.Error{Status: http.StatusUnauthorized, Code: "unauthenticated", Message: "The signature is wrong."}
			}
			return nil
		})
	}},
	{id: "raw-bytes", name: "of a query", breaks: func(w *world) {
		w.verifying = before(func(m *flyext.Message) error {
			_, query, _ := strings.Cut(m.Target, "?")
			if values, err := url.ParseQuery(query); err == nil && values.Encode() != query {
				return &flyext.Error{Status: http.StatusUnauthorized, Code: "unauthenticated", Message: "The signature is wrong."}
			}
			return nil
		})
	}},
	{id: "unsigned", name: "of a GET", breaks: of(where(withoutSignature, admitting(flyext.Generation2)), http.MethodGet)},
	{id: "unsigned", name: "of a PATCH", breaks: of(where(withoutSignature, admitting(flyext.Generation2)), http.MethodPatch)},
	{id: "unsigned", name: "of a DELETE", breaks: of(where(withoutSignature, admitting(flyext.Generation2)), http.MethodDelete)},
	{
		id: "unsigned", name: "of a DELETE, message signature", format: flytest.FormatRFC9421,
		breaks: of(where(withoutSignature, flyext.BearerToken(token)), http.MethodDelete),
	},
	{id: "unsigned", name: "if there is a timestamp", breaks: of(where(func(m *flyext.Message) bool {
		return withoutSignature(m) && member(m.Body, "timestamp") != nil
	}, admitting(flyext.Generation2)), http.MethodPost)},
	{id: "unsigned", name: "an empty signature is accepted", breaks: of(where(func(m *flyext.Message) bool {
		return len(m.Header.Values("X-Signature")) == 1 && m.Header.Get("X-Signature") == ""
	}, admitting(flyext.Generation2)), http.MethodPost)},
	{id: "unsigned", name: "the request is refused but executed", breaks: func(w *world) {
		w.spoil = func(w *world, r *http.Request, a *answered) {
			if r.Method == http.MethodDelete && a.status == http.StatusUnauthorized {
				_ = w.service.Deprovision(r.Context(), strings.TrimPrefix(r.URL.Path, "/flyio/extensions/"))
			}
		}
	}},
	{id: "flipped-signature", name: "of a PATCH", breaks: of(or(func(m *flyext.Message) {
		if signature := m.Header.Get("X-Signature"); len(signature) == 64 {
			m.Header.Set("X-Signature", signature[:63]+last(m, signature))
		}
	}), http.MethodPatch)},
	{id: "other-key", name: "of a GET", breaks: of(also(flyext.XSignature("another-"+secret)), http.MethodGet)},
	{id: "other-key", name: "of a DELETE", breaks: of(also(flyext.XSignature("another-"+secret)), http.MethodDelete)},
	{id: "empty-key", name: "of a DELETE", breaks: of(also(flyext.XSignature("\x00")), http.MethodDelete)},
	{id: "changed-body", name: "of a PATCH", breaks: of(or(func(m *flyext.Message) {
		m.Body = []byte(strings.Replace(string(m.Body), `"sin"`, `"mad"`, 1))
	}), http.MethodPatch)},
	{id: "changed-query", name: "of a DELETE", breaks: of(or(func(m *flyext.Message) {
		m.Target = strings.Replace(m.Target, "&flytest=1", "", 1)
	}), http.MethodDelete)},
	{id: "changed-method", name: "a body for a query", breaks: of(or(func(m *flyext.Message) { m.Method = http.MethodPatch }), http.MethodDelete)},
	{id: "changed-path", name: "of a GET", breaks: of(or(atSigned), http.MethodGet)},
	{id: "changed-path", name: "of a DELETE", breaks: of(or(atSigned), http.MethodDelete)},
	{id: "changed-host", name: "of a GET", breaks: of(or(elsewhere), http.MethodGet)},
	{id: "changed-host", name: "of a PATCH", breaks: of(or(elsewhere), http.MethodPatch)},
	{id: "coverage", name: "without the method", format: flytest.FormatRFC9421, breaks: func(w *world) {
		w.verifying = where(func(m *flyext.Message) bool { return covers(m, "@target-uri") && !covers(m, "@method") }, lax())
	}},
	{id: "coverage", name: "without the path", format: flytest.FormatRFC9421, breaks: func(w *world) {
		w.verifying = where(func(m *flyext.Message) bool { return covers(m, "@method", "@authority") && !covers(m, "@target-uri") }, lax())
	}},
	{id: "coverage", name: "without the body", format: flytest.FormatRFC9421, breaks: func(w *world) {
		w.verifying = where(func(m *flyext.Message) bool {
			return covers(m, "@method", "@target-uri") && !covers(m, "content-digest")
		}, lax())
	}},
	{id: "coverage", name: "without the time, of draft-cavage", format: flytest.FormatCavage, breaks: func(w *world) {
		w.verifying = where(func(m *flyext.Message) bool {
			return strings.Contains(m.Header.Get("Signature"), `headers="(request-target)"`)
		}, lax())
	}},
	{
		id: "bearer-missing", name: "of a GET", format: flytest.FormatRFC9421,
		breaks: of(where(func(m *flyext.Message) bool { return m.Header.Get("Authorization") == "" }, flyext.MessageSignature(key)), http.MethodGet),
	},
	{
		id: "bearer-wrong", name: "of a DELETE", format: flytest.FormatRFC9421,
		breaks: of(also(flyext.AllOf(flyext.BearerToken("another-"+token), flyext.MessageSignature(key))), http.MethodDelete),
	},
	// With two policies a message has two nonces, so its replay with another method is
	// not detected.
	{id: "stale", name: "of a GET", also: []string{"replay-as-delete"}, breaks: of(also(flyext.Policy{MaxAge: 24 * time.Hour}.XSignature(secret)), http.MethodGet)},
	{id: "future", name: "of a DELETE", also: []string{"replay-as-delete"}, breaks: of(also(flyext.Policy{ClockSkew: 24 * time.Hour}.XSignature(secret)), http.MethodDelete)},
	{id: "replay", name: "of a PATCH", breaks: forgetting(http.MethodPatch)},
	{id: "replay", name: "of a GET", also: []string{"replay-as-delete"}, breaks: forgetting(http.MethodGet)},       // the requirement replays a GET as a DELETE
	{id: "replay", name: "of a DELETE", also: []string{"replay-as-delete"}, breaks: forgetting(http.MethodDelete)}, // same reason
}

// atSigned uses the signed URL as the target instead of comparing it with the target.
func atSigned(m *flyext.Message) {
	_, query, _ := strings.Cut(m.Target, "?")
	values, _ := url.ParseQuery(query)
	if signed, err := url.Parse(values.Get("url")); err == nil {
		m.Target = signed.EscapedPath() + "?" + query
	}
}

func elsewhere(m *flyext.Message) {
	m.BaseURL = &url.URL{Scheme: "https", Host: "another.example", Path: "/flyio"}
}
