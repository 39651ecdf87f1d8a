package flytest_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	jsonv2 "github.com/go-json-experiment/json"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// serving replaces the service.
func serving(s *logstore) func(w *world) {
	return func(w *world) { w.service = s }
}

// succeeding changes the successful answers to a method.
func succeeding(method string, spoil func(w *world, r *http.Request, a *answered)) func(w *world) {
	return func(w *world) {
		w.spoil = func(w *world, r *http.Request, a *answered) {
			if r.Method == method && a.status == http.StatusOK && strings.HasPrefix(r.URL.Path, "/flyio/extensions") {
				spoil(w, r, a)
			}
		}
	}
}

// withMember sets a member of an answer, or removes it if value is nil.
func withMember(a *answered, name string, value any) {
	var members map[string]any
	if jsonv2.Unmarshal(a.body, &members) != nil {
		return
	}
	members[name] = value
	if value == nil {
		delete(members, name)
	}
	a.body, _ = jsonv2.Marshal(members)
}

var provisionDefects = []defect{
	{id: "provision", name: "no config", breaks: succeeding(http.MethodPost, func(_ *world, _ *http.Request, a *answered) {
		withMember(a, "config", nil)
	})},
	{id: "provision", name: "the secrets come later", breaks: succeeding(http.MethodPost, func(_ *world, _ *http.Request, a *answered) {
		withMember(a, "config", map[string]string{})
		withMember(a, "status", "provisioning")
	})},
	{id: "provision", name: "no id", breaks: succeeding(http.MethodPost, func(_ *world, _ *http.Request, a *answered) {
		withMember(a, "id", "")
	})},
	{id: "provision", name: "an array", breaks: succeeding(http.MethodPost, func(_ *world, _ *http.Request, a *answered) {
		a.body = []byte(`[]`)
	})},
	{
		id: "provision", name: "generation 2's answer", format: flytest.FormatRFC9421,
		breaks: succeeding(http.MethodPost, func(_ *world, _ *http.Request, a *answered) {
			a.body = []byte(`{"id":"x","config":` + string(a.body) + `}`)
		}),
	},
	{id: "provision", name: "generation 1's answer", breaks: succeeding(http.MethodPost, func(_ *world, r *http.Request, a *answered) {
		if !strings.HasSuffix(r.URL.Path, "/events") {
			a.body, _ = jsonv2.Marshal(member(a.body, "config"))
		}
	})},
	{id: "provision", name: "an error", breaks: serving(&logstore{
		provision: func(*logstore, *flyext.ProvisionRequest) (*flyext.Extension, error) { return nil, errInternal },
	})},
	{id: "budget", breaks: func(w *world) {
		w.handling = func(provider http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodPost {
					time.Sleep(5*time.Second + time.Millisecond)
				}
				provider.ServeHTTP(rw, r)
			})
		}
	}},
	{id: "secret-values", breaks: succeeding(http.MethodPost, func(_ *world, _ *http.Request, a *answered) {
		a.replace(`"5432"`, `5432`)
	})},
	{id: "secret-values", name: "null", format: flytest.FormatCavage, breaks: succeeding(http.MethodPost, func(_ *world, _ *http.Request, a *answered) {
		a.replace(`"5432"`, `null`)
	})},
	{id: "secret-names", breaks: succeeding(http.MethodPost, func(_ *world, _ *http.Request, a *answered) {
		a.replace("LOGJAM_PORT", "LOGJAM-PORT")
	})},
	{id: "idempotent", name: "the name counts", breaks: serving(&logstore{
		provision: func(s *logstore, req *flyext.ProvisionRequest) (*flyext.Extension, error) {
			s.mu.Lock()
			defer s.mu.Unlock()
			if x, ok := s.streams[req.ID]; ok && x.Name != req.Name {
				return &flyext.Extension{Secrets: newSecrets(req.ID)}, nil
			}
			return nil, nil
		},
	})},
	{
		id: "idempotent", name: "new secrets each time", also: []string{"concurrent"}, // concurrent requests get different secrets too
		breaks: serving(&logstore{
			provision: func(s *logstore, req *flyext.ProvisionRequest) (*flyext.Extension, error) {
				s.mu.Lock()
				defer s.mu.Unlock()
				delete(s.streams, req.ID)
				return nil, nil
			},
		}),
	},
	{id: "concurrent", breaks: func(w *world) {
		w.handling = func(provider http.Handler) http.Handler {
			var running atomic.Int32
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				defer running.Add(-1)
				if running.Add(1) > 1 && r.Method == http.MethodPost {
					rw.WriteHeader(http.StatusConflict)
					return
				}
				time.Sleep(time.Millisecond)
				provider.ServeHTTP(rw, r)
			})
		}
	}},
	{id: "blank-name", breaks: serving(&logstore{
		provision: func(_ *logstore, req *flyext.ProvisionRequest) (*flyext.Extension, error) {
			if req.Name == "" {
				return nil, flyext.Invalid("The name is missing.")
			}
			return nil, nil
		},
	})},
	{id: "same-name", name: "is a conflict", breaks: serving(&logstore{
		provision: func(s *logstore, req *flyext.ProvisionRequest) (*flyext.Extension, error) {
			return nil, s.takenName(req, func(*stream) error { return flyext.Conflict("The name is taken.") })
		},
	})},
	{id: "same-name", name: "gets the other's secrets", breaks: serving(&logstore{
		provision: func(s *logstore, req *flyext.ProvisionRequest) (x *flyext.Extension, err error) {
			err = s.takenName(req, func(other *stream) error {
				x = &flyext.Extension{Name: other.Name, Secrets: other.Secrets}
				return nil
			})
			return x, err
		},
	})},
	{id: "unknown-parameters", name: "of a provision", breaks: serving(&logstore{
		provision: func(_ *logstore, req *flyext.ProvisionRequest) (*flyext.Extension, error) {
			if len(req.Extra) > 0 {
				return nil, flyext.Invalid("There is a parameter too many.")
			}
			return nil, nil
		},
	})},
	{id: "unknown-parameters", name: "of an update", breaks: serving(&logstore{
		update: func(_ *logstore, _ string, req *flyext.UpdateRequest) error {
			if len(req.Extra) > 0 {
				return flyext.Invalid("There is a parameter too many.")
			}
			return nil
		},
	})},
	{id: "email-spellings", breaks: func(w *world) {
		w.verifying = before(func(m *flyext.Message) error {
			if member(m.Body, "email") != nil {
				return flyext.Invalid("The organization_email is missing.")
			}
			return nil
		})
	}},
	{id: "escaped-id", breaks: func(w *world) {
		w.handling = func(provider http.Handler) http.Handler {
			return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.URL.EscapedPath(), "%2F") {
					http.NotFound(rw, r)
					return
				}
				provider.ServeHTTP(rw, r)
			})
		}
	}},
}

// takenName calls found if another extension has the name.
func (s *logstore) takenName(req *flyext.ProvisionRequest, found func(other *stream) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, x := range s.streams {
		if id != req.ID && x.Name == req.Name && !x.updated {
			return found(x)
		}
	}
	return nil
}

var lifecycleDefects = []defect{
	{id: "fetch", name: "another id", breaks: succeeding(http.MethodGet, func(_ *world, r *http.Request, a *answered) {
		withMember(a, "id", "another")
	})},
	{id: "fetch", name: "an error", breaks: serving(&logstore{
		fetch: func(s *logstore, id string) (*flyext.Extension, error) {
			if s.streams[id] != nil {
				return nil, errInternal
			}
			return nil, nil
		},
	})},
	{id: "status", name: "Ready", breaks: fetching(func(x *stream) *flyext.Extension { return &flyext.Extension{Status: "Ready"} })},
	{id: "status", name: "active", breaks: fetching(func(x *stream) *flyext.Extension { return &flyext.Extension{Status: "active"} })},
	{id: "status", name: "none", breaks: succeeding(http.MethodGet, func(_ *world, _ *http.Request, a *answered) {
		withMember(a, "status", nil)
	})},
	{id: "ready", name: "never", breaks: fetching(func(x *stream) *flyext.Extension { return &flyext.Extension{Status: flyext.Provisioning} })},
	{id: "ready", name: "failed", breaks: fetching(func(x *stream) *flyext.Extension {
		return &flyext.Extension{Status: flyext.Failed, Message: "There is no room."}
	})},
	{id: "update", breaks: updating(func(x *stream, req *flyext.UpdateRequest) error {
		if len(req.ReadRegions.Value) > 0 {
			return errInternal
		}
		return nil
	})},
	{id: "update-absent", name: "an error", breaks: updating(func(x *stream, req *flyext.UpdateRequest) error {
		if !req.ReadRegions.Present {
			return errInternal
		}
		return nil
	})},
	{id: "update-absent", name: "removes replicas", breaks: func(w *world) {
		updating(func(x *stream, req *flyext.UpdateRequest) error {
			x.regions = req.ReadRegions.Value
			return nil
		})(w)
		showing(w)
	}},
	{id: "update-empty-list", name: "an error", breaks: updating(func(x *stream, req *flyext.UpdateRequest) error {
		if req.ReadRegions.Present && len(req.ReadRegions.Value) == 0 {
			return flyext.Invalid("There is no region in the list.")
		}
		return nil
	})},
	{id: "update-empty-list", name: "changes nothing", breaks: func(w *world) {
		updating(func(x *stream, req *flyext.UpdateRequest) error {
			if req.ReadRegions.Present && len(req.ReadRegions.Value) == 0 {
				x.regions = []string{"ord", "syd"}
			}
			return nil
		})(w)
		showing(w)
	}},
	{id: "fetch-after-update", name: "an error", breaks: fetching(func(x *stream) *flyext.Extension {
		if x.updated {
			return &flyext.Extension{ID: "another"}
		}
		return nil
	})},
	{id: "fetch-after-update", name: "the old name", breaks: func(w *world) {
		w.service = &logstore{}
		names := map[string]string{}
		w.spoil = func(w *world, r *http.Request, a *answered) {
			id := strings.TrimPrefix(r.URL.Path, "/flyio/extensions/")
			name, _ := member(a.body, "name").(string)
			w.service.mu.Lock()
			defer w.service.mu.Unlock()
			switch {
			case r.Method == http.MethodPost && a.status == http.StatusOK:
				id, _ = member(a.body, "id").(string)
				if names[id] == "" {
					names[id] = name
				}
			case r.Method == http.MethodGet && a.status == http.StatusOK && names[id] != "":
				withMember(a, "name", names[id])
			}
		}
	}},
	{id: "unknown-id", name: "of a GET", breaks: serving(&logstore{
		fetch: func(s *logstore, id string) (*flyext.Extension, error) {
			if s.streams[id] == nil && !s.deleted[id] {
				return &flyext.Extension{}, nil
			}
			return nil, nil
		},
	})},
	{id: "unknown-id", name: "of a DELETE", breaks: serving(&logstore{
		deprovision: func(s *logstore, id string) error {
			if s.streams[id] == nil && !s.deleted[id] {
				return errInternal
			}
			return nil
		},
	})},
	{id: "unknown-id", name: "of a PATCH", breaks: func(w *world) {
		w.spoil = func(_ *world, r *http.Request, a *answered) {
			if r.Method == http.MethodPatch && a.status == http.StatusNotFound {
				a.status, a.body = http.StatusOK, []byte(`{"id":"x","config":{}}`)
			}
		}
	}},
	{id: "deprovision", breaks: serving(&logstore{deprovision: func(s *logstore, id string) error {
		if s.streams[id] != nil {
			return errInternal
		}
		return nil
	}})},
	{id: "deprovision-twice", breaks: serving(&logstore{
		deprovision: func(s *logstore, id string) error {
			if s.deleted[id] {
				return flyext.NotFound("There is no such log stream.")
			}
			return nil
		},
	})},
	{id: "fetch-after-deprovision", breaks: serving(&logstore{
		fetch: func(s *logstore, id string) (*flyext.Extension, error) {
			if s.deleted[id] {
				return &flyext.Extension{}, nil
			}
			return nil, nil
		},
	})},
}

// fetching changes the answer to the GET of an existing extension; nil keeps it.
func fetching(answer func(x *stream) *flyext.Extension) func(w *world) {
	return serving(&logstore{fetch: func(s *logstore, id string) (*flyext.Extension, error) {
		if x := s.streams[id]; x != nil {
			return answer(x), nil
		}
		return nil, nil
	}})
}

func updating(change func(x *stream, req *flyext.UpdateRequest) error) func(w *world) {
	return serving(&logstore{update: func(s *logstore, id string, req *flyext.UpdateRequest) error {
		return change(s.streams[id], req)
	}})
}

// showing adds the regions to the answer to GET.
func showing(w *world) {
	succeeding(http.MethodGet, func(w *world, r *http.Request, a *answered) {
		id, err := url.PathUnescape(strings.TrimPrefix(r.URL.EscapedPath(), "/flyio/extensions/"))
		w.service.mu.Lock()
		defer w.service.mu.Unlock()
		if x := w.service.streams[id]; err == nil && x != nil {
			withMember(a, "read_regions", append([]string{}, x.regions...))
		}
	})(w)
}
