package flytest_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// TestConformanceOfOthers checks that providers with other correct behavior pass.
func TestConformanceOfOthers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		format flytest.Format
		world  func(w *world)
	}{
		{name: "ids of its own", world: func(w *world) {
			w.service = &logstore{provision: func(s *logstore, req *flyext.ProvisionRequest) (*flyext.Extension, error) {
				s.mu.Lock()
				defer s.mu.Unlock()
				id := "own-" + req.ID
				if s.streams[id] == nil {
					s.streams[id] = &stream{organizationID: req.OrganizationID, regions: req.ReadRegions}
					s.streams[id].Name, s.streams[id].Secrets = req.Name, newSecrets(id)
				}
				x := s.streams[id].Extension
				x.ID = id
				return &x, nil
			}}
		}},
		{name: "names are unique", world: func(w *world) {
			w.service = &logstore{update: func(s *logstore, id string, req *flyext.UpdateRequest) error {
				for other, x := range s.streams {
					if other != id && req.Name.Present && x.Name == req.Name.Value {
						return flyext.Conflict("The name is taken.")
					}
				}
				return nil
			}}
		}},
		{name: "an e-mail address belongs to one user and one organization", world: func(w *world) {
			var mu sync.Mutex
			owners := map[string]string{}
			w.service = &logstore{provision: func(_ *logstore, req *flyext.ProvisionRequest) (*flyext.Extension, error) {
				mu.Lock()
				defer mu.Unlock()
				for email, owner := range map[string]string{"u " + req.UserEmail: req.UserID, "o " + req.OrganizationEmail: req.OrganizationID} {
					if owners[email] != "" && owners[email] != owner {
						return nil, flyext.Conflict("The address is taken.")
					}
					owners[email] = owner
				}
				return nil, nil
			}}
		}},
		{name: "a request id and a time in each error", world: func(w *world) {
			w.spoil = func(_ *world, _ *http.Request, a *answered) {
				if a.status >= 400 {
					withMember(a, "request_id", rand.Text())
				}
			}
		}},
		{name: "refusals are text with a number", world: func(w *world) {
			n := 0
			var mu sync.Mutex
			w.spoil = func(_ *world, _ *http.Request, a *answered) {
				mu.Lock()
				defer mu.Unlock()
				if a.status == http.StatusUnauthorized {
					n++
					a.body = []byte("Refused, request " + strconv.Itoa(n))
				}
			}
		}},
		{name: "some of the configuration is public", world: func(w *world) {
			w.spoil = func(_ *world, r *http.Request, a *answered) {
				switch {
				case r.Method == http.MethodPost && a.status == http.StatusOK:
					config, ok := member(a.body, "config").(map[string]any)
					if !ok {
						return // an answer to an event
					}
					config["LOGJAM_HOST"] = "collector.logjam.example"
					config["LOGJAM_STREAM"] = member(a.body, "id")
					withMember(a, "config", config)
				case a.status >= 400:
					a.header.Set("Via", "1.1 collector.logjam.example")
					withMember(a, "message", "Not for "+r.URL.Path)
				}
			}
		}},
		{name: "the signature is checked before the route", world: func(w *world) {
			w.noSignOn = true
			w.spoil = func(_ *world, r *http.Request, a *answered) {
				if (r.Method == http.MethodGet || r.Method == http.MethodDelete) && a.status != http.StatusUnauthorized {
					a.status, a.body = http.StatusNotFound, fmt.Appendf(nil, "Cannot %s %s", r.Method, r.URL.Path)
				}
			}
		}},
		{name: "the signature is checked before the sign-on's route", world: func(w *world) {
			w.spoil = func(_ *world, r *http.Request, a *answered) {
				if !strings.HasSuffix(r.URL.Path, "/sso") {
					return
				}
				if a.status = http.StatusUnauthorized; r.Header.Get("X-Signature") != "" {
					a.status = http.StatusNotFound
				}
				a.body = nil
			}
		}},
		{name: "provisioning takes a while and blocks other requests", world: func(w *world) {
			var mu sync.Mutex
			ready := map[string]time.Time{}
			working := func(id string) bool {
				mu.Lock()
				defer mu.Unlock()
				return time.Now().Before(ready[id])
			}
			busy := flyext.Conflict("It is being made.")
			w.service = &logstore{
				provision: func(_ *logstore, req *flyext.ProvisionRequest) (*flyext.Extension, error) {
					mu.Lock()
					defer mu.Unlock()
					if ready[req.ID].IsZero() {
						ready[req.ID] = time.Now().Add(5 * time.Second)
					}
					return nil, nil
				},
				fetch: func(s *logstore, id string) (*flyext.Extension, error) {
					if s.streams[id] != nil && working(id) {
						return &flyext.Extension{Name: s.streams[id].Name, Status: "provisioning"}, nil
					}
					return nil, nil
				},
				update: func(_ *logstore, id string, _ *flyext.UpdateRequest) error {
					if working(id) {
						return busy
					}
					return nil
				},
				deprovision: func(_ *logstore, id string) error {
					if working(id) {
						return busy
					}
					return nil
				},
			}
		}},
		{name: "removal takes a while", world: func(w *world) {
			var mu sync.Mutex
			gone := map[string]time.Time{}
			w.service = &logstore{
				deprovision: func(_ *logstore, id string) error {
					mu.Lock()
					defer mu.Unlock()
					gone[id] = time.Now().Add(5 * time.Second)
					return nil
				},
				fetch: func(s *logstore, id string) (*flyext.Extension, error) {
					mu.Lock()
					defer mu.Unlock()
					if s.deleted[id] && time.Now().Before(gone[id]) {
						return &flyext.Extension{Status: "deprovisioning"}, nil
					}
					return nil, nil
				},
			}
		}},
		{name: "a rate limit", world: func(w *world) {
			w.handling = func(provider http.Handler) http.Handler {
				var mu sync.Mutex
				var second time.Time
				n := 0
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					mu.Lock()
					if now := time.Now().Truncate(time.Second); !now.Equal(second) {
						second, n = now, 0
					}
					n++
					over := n > 20
					mu.Unlock()
					if over {
						rw.Header().Set("Retry-After", "1")
						rw.WriteHeader(http.StatusTooManyRequests)
						return
					}
					provider.ServeHTTP(rw, r)
				})
			}
		}},
		{name: "a long body is read to its end", world: func(w *world) {
			w.handling = func(provider http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					head, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
					if n, _ := io.Copy(io.Discard, r.Body); n > 0 {
						rw.WriteHeader(http.StatusRequestEntityTooLarge)
						return
					}
					r.Body = io.NopCloser(bytes.NewReader(head))
					provider.ServeHTTP(rw, r)
				})
			}
		}},
		{name: "201, 202 and 204", world: func(w *world) {
			w.spoil = func(_ *world, r *http.Request, a *answered) {
				if a.status != http.StatusOK || !strings.HasPrefix(r.URL.Path, "/flyio/extensions") {
					return
				}
				switch r.Method {
				case http.MethodPost:
					a.status = http.StatusCreated
				case http.MethodPatch:
					a.status = http.StatusAccepted
				case http.MethodDelete:
					a.status, a.body = http.StatusNoContent, nil
				}
			}
		}},
		{name: "refused users see a page", world: func(w *world) {
			w.spoil = func(_ *world, r *http.Request, a *answered) {
				if a.status/100 == 4 && (strings.HasSuffix(r.URL.Path, "/callback") || strings.HasSuffix(r.URL.Path, "/sso")) {
					a.status, a.body = http.StatusOK, []byte("Sign in first.")
				}
			}
		}},
		{name: "refused users are redirected to the front page", world: func(w *world) { frontPage(w, "/app/?stream=", "/app/?error=denied") }},
		{name: "refused users are redirected to a page of a script", world: func(w *world) {
			frontPage(w, "https://dashboard.example/#/streams/", "https://dashboard.example/#/denied")
		}},
		{name: "another screen for each visit", world: func(w *world) {
			w.signingOn = func(sso *flyext.SSOConfig) {
				sso.SignIn = func(rw http.ResponseWriter, r *http.Request, id *flyext.Identity) error {
					http.Redirect(rw, r, "https://dashboard.example/visits/"+rand.Text(), http.StatusSeeOther)
					return nil
				}
			}
		}},
		{name: "its own sign-on page for an unknown extension", world: func(w *world) {
			w.spoil = func(_ *world, r *http.Request, a *answered) {
				if strings.HasSuffix(r.URL.Path, "/sso") && a.status == http.StatusNotFound {
					a.status = http.StatusFound
					a.header.Set("Location", "https://dashboard.example/login")
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &world{format: flytest.FormatXSignature}
				if c.format != "" {
					w.format = c.format
				}
				c.world(w)
				report := w.run(t)
				if failed := ids(report, flytest.Failed); len(failed) > 0 {
					t.Errorf("failed:\n%s", explain(report))
				}
				if n := w.service.left(); n > 0 {
					t.Errorf("%d extensions were left behind", n)
				}
			})
		})
	}
}

// frontPage redirects accepted users to in, and refused users to out.
func frontPage(w *world, in, out string) {
	w.signingOn = func(sso *flyext.SSOConfig) {
		sso.SignIn = func(rw http.ResponseWriter, r *http.Request, id *flyext.Identity) error {
			http.Redirect(rw, r, in+url.QueryEscape(id.ExtensionID), http.StatusSeeOther)
			return nil
		}
	}
	w.spoil = func(_ *world, r *http.Request, a *answered) {
		if strings.HasSuffix(r.URL.Path, "/callback") && a.status >= 400 {
			a.status = http.StatusSeeOther
			a.header.Set("Location", out)
		}
		if strings.HasPrefix(r.URL.Path, "/app/") {
			a.status = http.StatusOK
		}
	}
}
