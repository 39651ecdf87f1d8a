package console

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// A field is a field of a form, for a template.
type field struct {
	Name, Label string
	Hint        string
	Value       string
	Mode        string // of an update: "", "set" or "null"
	Was         string // of an update: the value that the extension has
	Error       string
	List        string // the id of a datalist
	Code        bool   // it holds text for machines
	Required    bool
	Rows        int // more than one line
}

// A form is the input of a person, and its faults.
type form struct {
	Fields   map[string]*field
	Errors   []formError
	Customer string // of the provision form
}

// A formError is about a field. If Name is "", it is about the whole form.
type formError struct{ Name, Label, Text string }

func (f *form) fail(name, text string) {
	e := formError{Name: name, Text: text}
	if at := f.Fields[name]; at != nil {
		at.Error = text
		e.Label = at.Label
	}
	f.Errors = append(f.Errors, e)
}

// customerFields describe the customer who provisions. A blank field has the
// value of the chosen customer.
var customerFields = []field{
	{Name: "organization_id", Label: "Organization id", Code: true},
	{Name: "organization_name", Label: "Organization name"},
	{Name: "organization_email", Label: "Organization e-mail"},
	{Name: "user_id", Label: "User id", Code: true},
	{Name: "user_email", Label: "User e-mail"},
	{Name: "user_role", Label: "User role", List: "roles"},
}

var placeFields = []field{
	{Name: "name", Label: "Name", Hint: "Unique across Fly.io. A provider may choose another one."},
	{Name: "primary_region", Label: "Primary region", Hint: "Three letters, such as mad.", List: "regions", Code: true},
	{Name: "read_regions", Label: "Read regions", Hint: "Separate them with spaces.", Code: true},
	{Name: "ip_address", Label: "Private address", Hint: "An IPv6 address of the customer’s network (Flycast).", Code: true},
}

var (
	idField    = field{Name: "id", Label: "Extension id", Hint: "Fly.io’s id. The same id again means the same extension.", Code: true, Required: true}
	extraField = field{Name: "extra", Label: "Other members", Hint: `A JSON object, such as {"plan": "scaler"}. flyctl sends a provider’s own options like this.`, Code: true, Rows: 3}
)

// regions are suggestions. Others can be typed.
var regions = strings.Fields("ams arn bom cdg dfw ewr fra gru iad jnb lax lhr nrt ord sin sjc syd yyz")

// newForm returns a form of fields with the given values.
func newForm(values url.Values, fields ...[]field) *form {
	f := &form{Fields: make(map[string]*field)}
	for _, each := range fields {
		for _, at := range each {
			at.Value = strings.ToValidUTF8(values.Get(at.Name), "\uFFFD")
			at.Mode = values.Get("mode_" + at.Name)
			at.Was = values.Get("was_" + at.Name)
			f.Fields[at.Name] = &at
		}
	}
	for _, name := range fieldOrder {
		if at := f.Fields[name]; at != nil && utf8.RuneCountInString(at.Value) > maxText && at.Rows == 0 {
			f.fail(name, fmt.Sprintf("It is longer than %d characters.", maxText))
		}
	}
	return f
}

// maxText is the most characters of a field with one line.
const maxText = 500

// fieldOrder is the order of the fields in the request and of their errors.
var fieldOrder = []string{
	"name", "id", "organization_id", "organization_name", "organization_email", "user_id", "user_email", "user_role",
	"primary_region", "read_regions", "ip_address", "extra", "event_type", "event_machine", "event_status", "event_data",
	"edit_method", "edit_path", "edit_body", "capture", "body", "base_url", "at", "pasted",
}

// text returns a field's value.
func (f *form) text(name string) string {
	if at := f.Fields[name]; at != nil {
		return strings.TrimSpace(at.Value)
	}
	return ""
}

// Pick returns fields for a template.
func (f *form) Pick(names ...string) []*field {
	var picked []*field
	for _, name := range names {
		picked = append(picked, f.Fields[name])
	}
	return picked
}

// Touched reports whether one of these fields is filled in, changed or wrong. It
// must then be visible.
func (f *form) Touched(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		return f.Fields[name].Error != "" || f.Fields[name].Value != f.Fields[name].Was
	})
}

func provisionFormOf(values url.Values) *form {
	f := newForm(values, []field{idField, extraField}, placeFields, customerFields)
	f.Customer = values.Get("customer")
	return f
}

// blankProvisionForm returns the form with a new id, a name with that id, and the
// first customer.
func blankProvisionForm(customers []customer) *form {
	id := newID()
	f := provisionFormOf(url.Values{"id": {id}, "name": {"collider-" + id}, "primary_region": {"mad"}})
	if len(customers) > 0 {
		f.Customer = customers[0].Key
	}
	return f
}

// newID returns an id in the style of Fly.io.
func newID() string { return strings.ToLower(rand.Text()[:14]) }

// request returns the request of the form. Faults are in f.Errors.
func (f *form) request(customers []customer) flyext.ProvisionRequest {
	chosen := customer{}
	if f.Customer != "" {
		i := slices.IndexFunc(customers, func(c customer) bool { return c.Key == f.Customer })
		if i < 0 {
			f.fail("", "The chosen customer was removed. Choose another.")
		} else {
			chosen = customers[i]
		}
	}
	or := func(name, otherwise string) string {
		if text := f.text(name); text != "" {
			return text
		}
		return otherwise
	}
	r := flyext.ProvisionRequest{
		ID: f.text("id"), Name: f.text("name"),
		OrganizationID: or("organization_id", chosen.OrganizationID), OrganizationName: or("organization_name", chosen.OrganizationName),
		OrganizationEmail: or("organization_email", chosen.OrganizationEmail),
		UserID:            or("user_id", chosen.UserID), UserEmail: or("user_email", chosen.UserEmail), UserRole: or("user_role", chosen.Role),
		PrimaryRegion: f.text("primary_region"), ReadRegions: listOf(f.text("read_regions")), IPAddress: f.addr(),
	}
	if r.ID == "" {
		f.fail("id", "Enter an id: each extension needs one.")
	}
	sent := []string{"id", "name", "organization_id"}
	for name, value := range map[string]string{
		"organization_name": r.OrganizationName, "organization_email": r.OrganizationEmail, "user_id": r.UserID,
		"user_email": r.UserEmail, "user_role": r.UserRole, "primary_region": r.PrimaryRegion,
		"read_regions": strings.Join(r.ReadRegions, " "), "ip_address": f.text("ip_address"),
	} {
		if value != "" {
			sent = append(sent, name)
		}
	}
	r.Extra = f.extra(sent)
	return r
}

// listOf splits a list at spaces and commas. An empty list is nil.
func listOf(text string) []string {
	isBetween := func(r rune) bool { return r == ',' || unicode.IsSpace(r) }
	if list := strings.FieldsFunc(text, isBetween); len(list) > 0 {
		return list
	}
	return nil
}

func (f *form) addr() netip.Addr {
	text := f.text("ip_address")
	if text == "" {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		f.fail("ip_address", "It is not an IP address such as fdaa:0:1::3.")
	}
	return addr
}

// extra returns the members of the form's JSON object. Its names must differ from
// those of the members in sent.
func (f *form) extra(sent []string) map[string]json.RawMessage {
	text := f.text("extra")
	if text == "" {
		return nil
	}
	var members map[string]json.RawMessage
	err := json.Unmarshal([]byte(text), &members)
	switch {
	case err != nil && json.Valid([]byte(text)) || err == nil && members == nil:
		f.fail("extra", `It is JSON, but not an object: write {"name": value, …}.`)
	case err != nil:
		f.fail("extra", "It is not JSON: "+err.Error()+".")
	}
	for name := range members {
		if slices.Contains(sent, name) {
			f.fail("extra", fmt.Sprintf("%q has a field of its own. Use that field.", name))
			break
		}
	}
	return members
}

func updateFormOf(values url.Values) *form {
	f := newForm(values, []field{extraField}, placeFields, customerFields)
	for name, at := range f.Fields {
		if name != "read_regions" && name != "extra" {
			at.Hint = "" // the person knows it by now
		}
	}
	return f
}

// The modes of a field of an update. A blank field is not sent, unless its mode
// says so, because absent, empty and null differ.
const (
	modeSet  = "set"
	modeNull = "null"
)

// update returns the update of the form. Faults are in f.Errors.
func (f *form) update() flyext.UpdateRequest {
	text := func(name string) (o flyext.Optional[string]) {
		switch value, mode := f.text(name), f.Fields[name].Mode; {
		case mode == modeNull:
			return flyext.OptionalNull[string]()
		case mode == modeSet || f.changed(name):
			return flyext.OptionalOf(value)
		}
		return o
	}
	u := flyext.UpdateRequest{
		Name: text("name"), OrganizationID: text("organization_id"), OrganizationName: text("organization_name"),
		OrganizationEmail: text("organization_email"), UserID: text("user_id"), UserEmail: text("user_email"),
		UserRole: text("user_role"), PrimaryRegion: text("primary_region"),
	}
	switch list := text("read_regions"); {
	case list.Null:
		u.ReadRegions = flyext.OptionalNull[[]string]()
	case list.Present:
		regions := listOf(list.Value)
		if regions == nil {
			regions = []string{} // an empty list removes every replica
		}
		u.ReadRegions = flyext.OptionalOf(regions)
	}
	switch addr := text("ip_address"); {
	case addr.Null:
		u.IPAddress = flyext.OptionalNull[netip.Addr]()
	case addr.Present:
		u.IPAddress = flyext.OptionalOf(f.addr())
	}
	var sent []string
	for _, name := range fieldOrder {
		if at := f.Fields[name]; at != nil && name != "extra" && (at.Mode == modeNull || at.Mode == modeSet || f.changed(name)) {
			sent = append(sent, name)
		}
	}
	u.Extra = f.extra(sent)
	return u
}

// A customer is a user who provisions in one of their organizations.
type customer struct {
	Key, Label                                          string
	OrganizationID, OrganizationName, OrganizationEmail string
	UserID, UserEmail, Role                             string
}

func (c *Console) customers() []customer {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []customer
	for _, u := range c.users {
		for _, m := range u.Organizations {
			all = append(all, customer{
				Key:            url.Values{"user": {u.ID}, "organization": {m.OrganizationID}}.Encode(),
				Label:          orElse(u.Name, u.ID) + ", " + m.Role + " of " + orElse(m.OrganizationName, m.OrganizationID),
				OrganizationID: m.OrganizationID, OrganizationName: m.OrganizationName,
				OrganizationEmail: m.OrganizationID + "@customer.fly.io",
				UserID:            u.ID, UserEmail: emailOf(u), Role: m.Role,
			})
		}
	}
	return all
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func emailOf(u flytest.User) string { return orElse(u.Email, u.ID+"@customer.fly.io") }
