package flytest

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/flyext/flyext"
)

func (r *conformanceRun) newID() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	return r.prefix + "-" + strconv.Itoa(r.count)
}

// newAddress returns a new address on a customer's network.
func (r *conformanceRun) newAddress() netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	address := netip.MustParseAddr("fdaa:0:47fb::").As16()
	binary.BigEndian.PutUint32(address[12:], uint32(r.count))
	return netip.AddrFrom16(address)
}

// The organizations of a run.
const (
	ownOrganization   = "flytest-organization"
	otherOrganization = "flytest-another-organization"
)

// order returns a provision request with every parameter that Fly.io sends, and a new
// id.
func (s *subject) order() flyext.ProvisionRequest {
	id := s.newID()
	return flyext.ProvisionRequest{
		ID: id, Name: id + "-prod",
		OrganizationID: ownOrganization, OrganizationName: "Conformance", OrganizationEmail: ownOrganization + "@customer.fly.io",
		UserID: "flytest-user", UserName: "Conformance Test", UserEmail: "flytest-user@customer.fly.io", UserRole: "admin",
		PrimaryRegion: "mad", ReadRegions: []string{"fra"}, IPAddress: s.newAddress(), Extra: maps.Clone(s.Params),
	}
}

// An extension is an extension that the provider has made.
type extension struct {
	id      string // the id in the paths of requests
	members map[string]jsontext.Value
	secrets map[string]jsontext.Value
	answer  Exchange // the last answer with the extension
}

func (x *extension) path() string { return ExtensionPath(x.id) }

// provision makes an extension. It returns a *failure if the provider refuses.
func (s *subject) provision(ctx context.Context, req flyext.ProvisionRequest) (*extension, error) {
	body, err := encodeProvision(req)
	if err != nil {
		return nil, err
	}
	return s.provisionBody(ctx, req.ID, body)
}

func (s *subject) provisionBody(ctx context.Context, id string, body []byte, changes ...how) (*extension, error) {
	s.willMake(id)
	e, err := s.call(ctx, http.MethodPost, "/extensions", body, changes...)
	if err != nil {
		return nil, err
	}
	return s.readMade(e, id)
}

// extension makes a new extension with the usual parameters.
func (s *subject) extension(ctx context.Context) (*extension, error) {
	return s.provision(ctx, s.order())
}

// standing returns an extension that exists for the whole run. It is for checks that
// do not change the extension.
func (s *subject) standing(ctx context.Context) (*extension, error) {
	if s.stands != nil {
		return s.stands, nil
	}
	x, err := s.extension(ctx)
	s.stands = x
	return x, err
}

// readMade reads the answer to a provision request. It is lenient, because only
// checkShape and the checks of secrets judge the format of the answer.
func (s *subject) readMade(e Exchange, id string) (*extension, error) {
	if err := succeeded(e); err != nil {
		return nil, err
	}
	members, err := decodeObject(e.ResponseBody)
	if err != nil {
		return nil, notObject(err)
	}
	x := &extension{id: id, members: members, secrets: members, answer: e}
	if !isFlat(members) { // a flat answer in generation 2 fails "provision"; the other checks can still run
		if config := members["config"]; s.generation() == flyext.Generation2 || config.Kind() == '{' {
			x.secrets, _ = decodeObject(config)
		}
	}
	if own := textOf(members["id"]); s.generation() == flyext.Generation2 && own != "" {
		x.id = own
	}
	s.conformanceRun.mu.Lock()
	defer s.conformanceRun.mu.Unlock()
	s.provisioned = true
	for _, value := range x.secrets {
		// The configuration also holds values that are not secret.
		text := textOf(value)
		if text == x.id || text == textOf(members["name"]) || bytes.Contains(e.RequestBody, []byte(text)) {
			s.addSecret(text, public)
		}
		s.addSecret(text, id)
	}
	return x, nil
}

// willMake records an id for cleanUp, before it is known whether the provider makes
// the extension.
func (r *conformanceRun) willMake(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Contains(r.made, id) {
		r.made = append(r.made, id)
	}
}

// noteMade records the id of a new extension for cleanUp, if the provider chooses ids
// itself. Extensions that the provider should have refused are included.
func (r *conformanceRun) noteMade(e Exchange) {
	if e.Request.Method != http.MethodPost || e.Response == nil || e.Response.StatusCode/100 != 2 || r.generation() == flyext.Generation1 {
		return
	}
	answer, _ := decodeObject(e.ResponseBody)
	own := textOf(answer["id"])
	if own == "" {
		return
	}
	r.willMake(own)
	asked, _ := decodeObject(e.RequestBody)
	if id := textOf(asked["id"]); id != own {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.made = slices.DeleteFunc(r.made, func(made string) bool { return made == id })
	}
}
