package console

import (
	"net/url"
	"strings"

	"github.com/flyext/flyext"
)

// currentForm returns the update form with the extension's values.
func (c *Console) currentForm(x *extension) *form {
	c.mu.Lock()
	r := x.current
	c.mu.Unlock()
	address := ""
	if r.IPAddress.IsValid() {
		address = r.IPAddress.String()
	}
	values := url.Values{}
	for name, value := range map[string]string{
		"name": r.Name, "organization_id": r.OrganizationID, "organization_name": r.OrganizationName, "organization_email": r.OrganizationEmail,
		"user_id": r.UserID, "user_email": r.UserEmail, "user_role": r.UserRole,
		"primary_region": r.PrimaryRegion, "read_regions": strings.Join(r.ReadRegions, " "), "ip_address": address,
	} {
		values.Set(name, value)
		values.Set("was_"+name, value)
	}
	return updateFormOf(values)
}

// changed reports whether a field differs from the extension's value.
func (f *form) changed(name string) bool {
	at := f.Fields[name]
	return at != nil && f.text(name) != strings.TrimSpace(at.Was)
}

// updated returns a request with an update applied.
func updated(r flyext.ProvisionRequest, u flyext.UpdateRequest) flyext.ProvisionRequest {
	for to, from := range map[*string]flyext.Optional[string]{
		&r.Name: u.Name, &r.OrganizationID: u.OrganizationID, &r.OrganizationName: u.OrganizationName, &r.OrganizationEmail: u.OrganizationEmail,
		&r.UserID: u.UserID, &r.UserEmail: u.UserEmail, &r.UserRole: u.UserRole, &r.PrimaryRegion: u.PrimaryRegion,
	} {
		if from.Present {
			*to = from.Value
		}
	}
	if u.ReadRegions.Present {
		r.ReadRegions = u.ReadRegions.Value
	}
	if u.IPAddress.Present {
		r.IPAddress = u.IPAddress.Value
	}
	return r
}
