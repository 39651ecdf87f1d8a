package flytest_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// A defect is a mistake of a provider. The requirement id must fail on it. All other
// requirements must pass, except those in also, for a reason in a comment.
type defect struct {
	id     string // of the requirement
	name   string // tells apart the defects of one requirement
	format flytest.Format
	also   []string // other requirements that the defect violates
	breaks func(w *world)
}

// or also accepts messages that verify after a change.
func or(change func(m *flyext.Message)) func(flyext.Verifier) flyext.Verifier {
	return func(v flyext.Verifier) flyext.Verifier {
		return verifierFunc(func(ctx context.Context, m *flyext.Message) (flyext.Verification, error) {
			verified, err := v.Verify(ctx, m)
			if err == nil {
				return verified, nil
			}
			changed := *m
			changed.Header = m.Header.Clone()
			change(&changed)
			if verified, errChanged := v.Verify(ctx, &changed); errChanged == nil {
				return verified, nil
			}
			return verified, err
		})
	}
}

// also accepts messages that other verifies.
func also(other flyext.Verifier) func(flyext.Verifier) flyext.Verifier {
	return func(v flyext.Verifier) flyext.Verifier { return flyext.AnyOf(v, other) }
}

// before passes genuine messages to look, which may refuse them.
func before(look func(m *flyext.Message) error) func(flyext.Verifier) flyext.Verifier {
	return func(v flyext.Verifier) flyext.Verifier {
		return verifierFunc(func(ctx context.Context, m *flyext.Message) (flyext.Verification, error) {
			verified, err := v.Verify(ctx, m)
			if err == nil {
				err = look(m)
			}
			return verified, err
		})
	}
}

func member(body []byte, name string) any {
	var members map[string]any
	_ = jsonv2.Unmarshal(body, &members)
	return members[name]
}

// last returns the correct last digit of the X-Signature of a POST if the other digits
// are correct. Otherwise it returns the last digit of signature.
func last(m *flyext.Message, signature string) string {
	h := hmac.New(sha256.New, []byte(secret))
	h.Write(m.Body)
	if right := hex.EncodeToString(h.Sum(nil)); right[:63] == signature[:63] {
		return right[63:]
	}
	return signature[63:]
}

var verificationDefects = []defect{
	{id: "unsigned", breaks: func(w *world) {
		w.verifying = func(v flyext.Verifier) flyext.Verifier {
			return verifierFunc(func(ctx context.Context, m *flyext.Message) (flyext.Verification, error) {
				if m.Header.Get("X-Signature") == "" {
					return flyext.Verification{Generation: flyext.Generation2}, nil
				}
				return v.Verify(ctx, m)
			})
		}
	}},
	{id: "unsigned", name: "the bearer token alone is accepted", format: flytest.FormatRFC9421, breaks: func(w *world) {
		w.verifying = func(v flyext.Verifier) flyext.Verifier {
			bearer := flyext.BearerToken(token)
			return verifierFunc(func(ctx context.Context, m *flyext.Message) (flyext.Verification, error) {
				if m.Header.Get("Signature") == "" {
					return bearer.Verify(ctx, m)
				}
				return v.Verify(ctx, m)
			})
		}
	}},
	{id: "garbage", breaks: func(w *world) {
		w.verifying = func(v flyext.Verifier) flyext.Verifier {
			return verifierFunc(func(ctx context.Context, m *flyext.Message) (flyext.Verification, error) {
				if signature := m.Header.Get("X-Signature"); signature != "" && len(signature) != 64 {
					panic("input buffers must have the same byte length")
				}
				return v.Verify(ctx, m)
			})
		}
	}},
	{id: "flipped-signature", breaks: func(w *world) {
		w.verifying = or(func(m *flyext.Message) { // only the beginning is compared
			if signature := m.Header.Get("X-Signature"); len(signature) == 64 {
				m.Header.Set("X-Signature", signature[:63]+last(m, signature))
			}
		})
	}},
	{id: "other-key", breaks: func(w *world) { w.verifying = also(flyext.XSignature("another-" + secret)) }},
	{id: "other-key", name: "message signature", format: flytest.FormatRFC9421, breaks: func(w *world) {
		other := flyext.MessageSignature(flyext.Key{ID: key.ID, Secret: "another-" + secret})
		w.verifying = also(flyext.AllOf(flyext.BearerToken(token), other))
	}},
	{id: "empty-key", breaks: func(w *world) { w.verifying = also(flyext.XSignature("\x00")) }},
	{id: "changed-body", breaks: func(w *world) {
		w.verifying = or(func(m *flyext.Message) { m.Body = []byte(strings.Replace(string(m.Body), `"sin"`, `"mad"`, 1)) })
	}},
	{id: "changed-query", breaks: func(w *world) {
		w.verifying = or(func(m *flyext.Message) { m.Target = strings.Replace(m.Target, "&flytest=1", "", 1) })
	}},
	{id: "changed-query", name: "message signature", format: flytest.FormatRFC9421, breaks: func(w *world) {
		w.verifying = or(func(m *flyext.Message) { m.Target, _, _ = strings.Cut(m.Target, "?") })
	}},
	{id: "changed-method", breaks: func(w *world) {
		w.verifying = or(func(m *flyext.Message) { m.Method, m.Body = http.MethodGet, nil })
	}},
	{id: "changed-method", name: "message signature", format: flytest.FormatRFC9421, breaks: func(w *world) {
		w.verifying = or(func(m *flyext.Message) { m.Method = http.MethodGet })
	}},
	{id: "changed-path", breaks: func(w *world) {
		w.verifying = or(func(m *flyext.Message) {
			signed, _ := member(m.Body, "url").(string)
			if u, err := url.Parse(signed); err == nil {
				m.Target = u.EscapedPath()
			}
		})
	}},
	{id: "changed-host", breaks: func(w *world) {
		w.verifying = or(func(m *flyext.Message) {
			m.BaseURL = &url.URL{Scheme: "https", Host: "another.example", Path: "/flyio"}
		})
	}},
	{id: "changed-host", name: "message signature", format: flytest.FormatRFC9421, breaks: func(w *world) {
		w.verifying = or(func(m *flyext.Message) {
			m.BaseURL, m.Host = &url.URL{Scheme: "https", Host: "another.example", Path: "/flyio"}, "another.example"
		})
	}},
	{id: "coverage", format: flytest.FormatRFC9421, breaks: func(w *world) {
		lax := flyext.Policy{InsecureSkipCoverage: true}.MessageSignature(key)
		w.verifying = also(flyext.AllOf(flyext.BearerToken(token), lax))
	}},
	{
		id: "coverage", name: "of draft-cavage", format: flytest.FormatCavage,
		breaks: func(w *world) {
			lax := flyext.Policy{InsecureSkipCoverage: true}.MessageSignature(key)
			w.verifying = also(flyext.AllOf(flyext.BearerToken(token), lax))
		},
	},
	{id: "bearer-missing", format: flytest.FormatRFC9421, breaks: func(w *world) {
		w.verifying = func(v flyext.Verifier) flyext.Verifier {
			alone := flyext.MessageSignature(key)
			return verifierFunc(func(ctx context.Context, m *flyext.Message) (flyext.Verification, error) {
				if m.Header.Get("Authorization") == "" {
					return alone.Verify(ctx, m)
				}
				return v.Verify(ctx, m)
			})
		}
	}},
	{id: "bearer-wrong", format: flytest.FormatRFC9421, breaks: func(w *world) {
		w.verifying = also(flyext.AllOf(flyext.BearerToken("another-"+token), flyext.MessageSignature(key)))
	}},
	{id: "stale", breaks: func(w *world) { w.config.Verifier = flyext.Policy{MaxAge: 24 * time.Hour}.XSignature(secret) }},
	{id: "future", breaks: func(w *world) { w.config.Verifier = flyext.Policy{ClockSkew: 24 * time.Hour}.XSignature(secret) }},
	{id: "timestamp-text", breaks: func(w *world) {
		w.verifying = before(func(m *flyext.Message) error {
			if _, text := member(m.Body, "timestamp").(string); text {
				return flyext.Invalid("The timestamp must be a number.")
			}
			return nil
		})
	}},
}

// seen is a replay store whose check and write are separate steps.
type seen struct {
	mu   sync.Mutex
	keys map[[16]byte]bool
}

func (s *seen) has(n flyext.Nonce) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[n.Key]
}

func (s *seen) add(n flyext.Nonce) (fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil {
		s.keys = make(map[[16]byte]bool)
	}
	fresh = !s.keys[n.Key]
	s.keys[n.Key] = true
	return fresh
}

func (s *seen) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.keys)
}

var replayDefects = []defect{
	{id: "replay", name: "a POST is remembered while it runs", breaks: func(w *world) {
		var store seen
		w.config.ReplayStore = storeFunc(func(_ context.Context, n flyext.Nonce) (bool, error) { return store.add(n), nil })
		w.service = &logstore{provision: func(*logstore, *flyext.ProvisionRequest) (*flyext.Extension, error) {
			time.Sleep(time.Millisecond)
			return nil, nil
		}}
		w.handling = func(provider http.Handler) http.Handler {
			var running atomic.Int32
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				running.Add(1)
				provider.ServeHTTP(rw, r)
				if running.Add(-1) == 0 && r.Method == http.MethodPost {
					store.clear()
				}
			})
		}
	}},
	{
		id: "replay", name: "nothing is remembered", also: []string{"concurrent-replay", "replay-as-delete"}, // these are replays too
		breaks: func(w *world) {
			w.config.ReplayStore = storeFunc(func(context.Context, flyext.Nonce) (bool, error) { return true, nil })
		},
	},
	{id: "concurrent-replay", breaks: func(w *world) {
		var store seen
		w.config.ReplayStore = storeFunc(func(_ context.Context, n flyext.Nonce) (bool, error) {
			if store.has(n) {
				return false, nil
			}
			time.Sleep(time.Millisecond) // the latency of a database
			store.add(n)
			return true, nil
		})
	}},
	{id: "replay-as-delete", breaks: func(w *world) {
		w.verifying = func(v flyext.Verifier) flyext.Verifier {
			return verifierFunc(func(ctx context.Context, m *flyext.Message) (flyext.Verification, error) {
				verified, err := v.Verify(ctx, m)
				for i := range verified.Nonces {
					verified.Nonces[i].Key[0] ^= m.Method[0]
				}
				return verified, err
			})
		}
	}},
	{id: "forged-nonce", breaks: func(w *world) {
		var store seen
		w.config.ReplayStore = storeFunc(func(_ context.Context, n flyext.Nonce) (bool, error) { return store.add(n), nil })
		w.verifying = func(v flyext.Verifier) flyext.Verifier {
			return verifierFunc(func(ctx context.Context, m *flyext.Message) (flyext.Verification, error) {
				verified, err := v.Verify(ctx, m)
				if nonce, ok := member(m.Body, "nonce").(string); ok && err != nil {
					store.add(flyext.Nonce{Key: flyext.NonceKey("x-signature", nonce)})
				}
				return verified, err
			})
		}
	}},
}

func TestEveryRequirementFindsItsDefect(t *testing.T) {
	t.Parallel()
	all := slices.Concat(provisionDefects, lifecycleDefects, verificationDefects, routeDefects, replayDefects, ssoDefects, eventDefects, errorDefects)
	for _, d := range all {
		name := d.id
		if d.name != "" {
			name += ": " + d.name
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &world{format: d.format}
				if w.format == "" {
					w.format = flytest.FormatXSignature
				}
				d.breaks(w)
				report := w.run(t)
				want := append([]string{d.id}, d.also...)
				slices.Sort(want)
				if got := ids(report, flytest.Failed); !slices.Equal(got, want) {
					t.Errorf("failed %q, want %q:\n%s", got, want, explain(report))
				}
			})
		})
	}
	for _, r := range flytest.Requirements() {
		if r.ID == "kept-connection" || r.ID == "late-retry" {
			continue // see TestKeptConnection, because wires have no connections, and TestLateRetry, because it only warns
		}
		if !slices.ContainsFunc(all, func(d defect) bool { return d.id == r.ID }) {
			t.Errorf("requirement %q has no defect that it fails on", r.ID)
		}
	}
}
