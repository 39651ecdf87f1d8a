package openapi

import (
	"context"
	"sync"

	"github.com/flyext/flyext"
)

// streams is a Provisioner with every optional capability.
type streams struct {
	mu  sync.Mutex
	all map[string]*flyext.Extension
	org map[string]string
}

func (s *streams) Provision(ctx context.Context, r *flyext.ProvisionRequest) (*flyext.Extension, error) {
	switch r.Name {
	case "taken":
		return nil, flyext.Conflict("This name is in use.")
	case "broken":
		panic("the disk is on fire")
	case "slow":
		return nil, context.DeadlineExceeded
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all[r.ID] == nil {
		s.all[r.ID] = &flyext.Extension{ID: r.ID, Name: r.Name, Secrets: flyext.Secrets{"LOGJAM_TOKEN": "t-" + r.ID}}
		s.org[r.ID] = r.OrganizationID
	}
	return s.all[r.ID], nil
}

func (s *streams) Update(ctx context.Context, id string, r *flyext.UpdateRequest) (*flyext.Extension, error) {
	x, err := s.Fetch(ctx, id)
	if name, ok := r.Name.Get(); ok && err == nil {
		changed := *x
		changed.Name = name
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all[id] = &changed
		return &changed, nil
	}
	return x, err
}

func (s *streams) Fetch(_ context.Context, id string) (*flyext.Extension, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.all[id]; x != nil {
		return x, nil
	}
	return nil, flyext.NotFound("Stream not found.")
}

func (s *streams) Deprovision(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.all, id)
	delete(s.org, id)
	return nil
}

func (s *streams) List(_ context.Context, organization string) ([]*flyext.Extension, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*flyext.Extension
	for id, x := range s.all {
		if s.org[id] == organization {
			list = append(list, x)
		}
	}
	return list, nil
}

func (s *streams) ReceiveEvent(context.Context, *flyext.Event) error { return nil }

func (s *streams) organizationOf(_ context.Context, id string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, ok := s.org[id]; ok {
		return o, nil
	}
	return "", flyext.NotFound("Stream not found.")
}
