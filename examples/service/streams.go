package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"sync"

	"github.com/flyext/flyext"
)

// streams are the service's product. The maps stand for a database.
type streams struct {
	mu    sync.Mutex
	all   map[string]stream // by Fly.io's extension id
	plans map[string]string // by organization
}

type stream struct{ name, organization, token string }

func newStreams() *streams {
	return &streams{all: map[string]stream{}, plans: map[string]string{}}
}

func (s *streams) Provision(_ context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	made, ok := s.all[r.ID]
	if !ok { // a retry returns the same secrets
		made = stream{r.Name, r.OrganizationID, rand.Text()}
		s.all[r.ID] = made
	}
	if made.organization != r.OrganizationID {
		return nil, flyext.Conflict("This stream belongs to another organization.")
	}
	return &flyext.Extension{Name: made.name, Secrets: flyext.Secrets{"LOGJAM_TOKEN": made.token}}, nil
}

func (s *streams) Update(_ context.Context, id string, r *flyext.UpdateRequest) (*flyext.Extension, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found, ok := s.all[id]
	if !ok {
		return nil, flyext.NotFound("There is no such stream.")
	}
	if name, ok := r.Name.Get(); ok {
		found.name = name
	}
	found.organization = cmp.Or(r.OrganizationID.Value, found.organization)
	s.all[id] = found
	return &flyext.Extension{Name: found.name, Secrets: flyext.Secrets{"LOGJAM_TOKEN": found.token}}, nil
}

func (s *streams) Fetch(_ context.Context, id string) (*flyext.Extension, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found, ok := s.all[id]; ok {
		return &flyext.Extension{Name: found.name}, nil
	}
	return nil, flyext.NotFound("There is no such stream.")
}

func (s *streams) Deprovision(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, id) // a retry succeeds
	return nil
}

func (s *streams) organizationOf(_ context.Context, id string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found, ok := s.all[id]; ok {
		return found.organization, nil
	}
	return "", flyext.NotFound("There is no such stream.")
}

// eligible reports whether an organization may have another stream.
func (s *streams) eligible(organization string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := 0
	for _, each := range s.all {
		if each.organization == organization {
			count++
		}
	}
	return count < 10 || s.plans[organization] == "pro"
}

func (s *streams) setPlan(organization, plan string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plans[organization] = plan
}
