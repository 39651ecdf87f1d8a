package flyext

import (
	"encoding/json"
	"net/netip"
	"strings"
)

// A provisionPayload is the body of a POST.
type provisionPayload struct {
	ID               string     `json:"id"`
	Name             string     `json:"name"`
	OrganizationID   string     `json:"organization_id"`
	OrganizationName string     `json:"organization_name"`
	UserID           string     `json:"user_id"`
	UserName         string     `json:"user_name"`
	UserEmail        string     `json:"user_email"`
	UserRole         string     `json:"user_role"`
	PrimaryRegion    string     `json:"primary_region"`
	ReadRegions      regions    `json:"read_regions"`
	IPAddress        netip.Addr `json:"ip_address"`
	email
	signingMembers
	Extra map[string]json.RawMessage `json:",embed"`
}

// request checks the payload and returns the request. g decides the extras.
func (p *provisionPayload) request(g Generation, body []byte) (*ProvisionRequest, error) {
	if p.ID == "" {
		return nil, invalidField("id", mustNotBeEmpty)
	}
	if p.OrganizationID == "" {
		return nil, invalidField("organization_id", mustNotBeEmpty)
	}
	address, err := p.address(&p.Extra)
	if err != nil {
		return nil, err
	}
	if err := checkAddress(p.IPAddress); err != nil {
		return nil, err
	}
	if err := checkTexts(
		text{"id", p.ID}, text{"name", p.Name}, text{"organization_id", p.OrganizationID},
		text{"organization_name", p.OrganizationName}, text{"organization_email", address.Value},
		text{"user_id", p.UserID}, text{"user_name", p.UserName}, text{"user_email", p.UserEmail}, text{"user_role", p.UserRole},
		text{"primary_region", p.PrimaryRegion}, text{"read_regions", strings.Join(p.ReadRegions, "")},
	); err != nil {
		return nil, err
	}
	return &ProvisionRequest{
		ID: p.ID, Name: p.Name,
		OrganizationID: p.OrganizationID, OrganizationName: p.OrganizationName, OrganizationEmail: address.Value,
		UserID: p.UserID, UserName: p.UserName, UserEmail: p.UserEmail, UserRole: p.UserRole,
		PrimaryRegion: p.PrimaryRegion, ReadRegions: p.ReadRegions, IPAddress: p.IPAddress,
		Extra: p.extras(g, body, p.Extra),
	}, nil
}

// An updatePayload is the body of a PATCH.
type updatePayload struct {
	Name             member[string]     `json:"name"`
	OrganizationID   member[string]     `json:"organization_id"`
	OrganizationName member[string]     `json:"organization_name"`
	UserID           member[string]     `json:"user_id"`
	UserName         member[string]     `json:"user_name"`
	UserEmail        member[string]     `json:"user_email"`
	UserRole         member[string]     `json:"user_role"`
	PrimaryRegion    member[string]     `json:"primary_region"`
	ReadRegions      member[regions]    `json:"read_regions"`
	IPAddress        member[netip.Addr] `json:"ip_address"`
	email
	signingMembers
	Extra map[string]json.RawMessage `json:",embed"`
}

// request does the same as provisionPayload.request.
func (p *updatePayload) request(g Generation, body []byte) (*UpdateRequest, error) {
	address, err := p.address(&p.Extra)
	if err != nil {
		return nil, err
	}
	if err := checkAddress(p.IPAddress.Value); err != nil {
		return nil, err
	}
	if err := checkTexts(
		text{"name", p.Name.Value}, text{"organization_id", p.OrganizationID.Value},
		text{"organization_name", p.OrganizationName.Value}, text{"organization_email", address.Value},
		text{"user_id", p.UserID.Value}, text{"user_name", p.UserName.Value}, text{"user_email", p.UserEmail.Value},
		text{"user_role", p.UserRole.Value}, text{"primary_region", p.PrimaryRegion.Value},
		text{"read_regions", strings.Join(p.ReadRegions.Value, "")},
	); err != nil {
		return nil, err
	}
	return &UpdateRequest{
		Name:           p.Name.Optional,
		OrganizationID: p.OrganizationID.Optional, OrganizationName: p.OrganizationName.Optional, OrganizationEmail: address,
		UserID: p.UserID.Optional, UserName: p.UserName.Optional, UserEmail: p.UserEmail.Optional, UserRole: p.UserRole.Optional,
		PrimaryRegion: p.PrimaryRegion.Optional,
		ReadRegions:   Optional[[]string]{p.ReadRegions.Value, p.ReadRegions.Present, p.ReadRegions.Null},
		IPAddress:     p.IPAddress.Optional,
		Extra:         p.extras(g, body, p.Extra),
	}, nil
}
