package flyext

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A payload is a decoded request body. It has the members that X-Signature adds, so
// that one pass over the body reads both.
type payload interface{ signing() *signingMembers }

// A provisionPayload is the body of a POST.
type provisionPayload struct {
	ProvisionRequest
	OrganizationEmail Optional[string] `json:"organization_email"` // instead of the ProvisionRequest's
	Email             jsontext.Value   `json:"email"`
	signingMembers
}

// request checks the payload and returns the request. g decides the extras.
func (p *provisionPayload) request(g Generation) (*ProvisionRequest, error) {
	req := &p.ProvisionRequest
	if req.ID == "" {
		return nil, invalidField("id", mustNotBeEmpty)
	}
	if req.OrganizationID == "" {
		return nil, invalidField("organization_id", mustNotBeEmpty)
	}
	if err := takeEmail(&p.OrganizationEmail, p.Email, &req.Extra); err != nil {
		return nil, err
	}
	req.OrganizationEmail = p.OrganizationEmail.Value
	p.addTo(&req.Extra, g)
	return req, checkAddress(req.IPAddress)
}

// An updatePayload is the body of a PATCH.
type updatePayload struct {
	UpdateRequest
	Email jsontext.Value `json:"email"`
	signingMembers
}

// request does the same as provisionPayload.request.
func (p *updatePayload) request(g Generation) (*UpdateRequest, error) {
	req := &p.UpdateRequest
	if err := takeEmail(&req.OrganizationEmail, p.Email, &req.Extra); err != nil {
		return nil, err
	}
	p.addTo(&req.Extra, g)
	return req, checkAddress(req.IPAddress.Value)
}

// A signedBody is the payload for a route of the service's own.
type signedBody struct{ signingMembers }

// signingMembers are the parameters of X-Signature in a body.
type signingMembers struct {
	Timestamp jsontext.Value `json:"timestamp"`
	Nonce     jsontext.Value `json:"nonce"`
	URL       jsontext.Value `json:"url"`
}

func (s *signingMembers) signing() *signingMembers { return s }

// complete reports whether the body has all three.
func (s *signingMembers) complete() bool { return s.Timestamp != nil && s.Nonce != nil && s.URL != nil }

// addTo adds the parameters to the extras in generation 1, in which they are ordinary
// members. A body with all three was signed for generation 2 as well.
func (s *signingMembers) addTo(extra *map[string]json.RawMessage, g Generation) {
	if g == Generation1 && !s.complete() {
		addExtra(extra, "timestamp", s.Timestamp)
		addExtra(extra, "nonce", s.Nonce)
		addExtra(extra, "url", s.URL)
	}
}

func addExtra(extra *map[string]json.RawMessage, name string, value jsontext.Value) {
	if value == nil {
		return
	}
	if *extra == nil {
		*extra = make(map[string]json.RawMessage)
	}
	(*extra)[name] = json.RawMessage(value)
}

// takeEmail reads the organization's e-mail address from the member email, as in the
// example on Fly.io's page. If organization_email has a value, email is an extra.
func takeEmail(address *Optional[string], email jsontext.Value, extra *map[string]json.RawMessage) error {
	if _, ok := address.Get(); ok || email == nil {
		addExtra(extra, "email", email)
		return nil
	}
	if err := jsonv2.Unmarshal(email, address, payloadRules, jsontext.AllowInvalidUTF8(true)); err != nil { // the body is UTF-8
		return invalidMember("email", err)
	}
	return nil
}

// checkAddress refuses an address with a zone, which has no meaning on another machine.
func checkAddress(a netip.Addr) error {
	if a.Zone() != "" {
		return invalidField("ip_address", mustBeAddress)
	}
	return nil
}

// payloadRules decode the members of a payload.
var payloadRules = jsonv2.WithUnmarshalers(jsonv2.JoinUnmarshalers(
	jsonv2.UnmarshalFromFunc(readText), jsonv2.UnmarshalFromFunc(readOptional[string]),
	jsonv2.UnmarshalFromFunc(readOptional[[]string]), jsonv2.UnmarshalFromFunc(readOptional[netip.Addr]),
))

// readOptional keeps null apart from a value.
func readOptional[T any](dec *jsontext.Decoder, o *Optional[T]) error {
	o.Present, o.Null = true, dec.PeekKind() == 'n'
	if o.Null {
		return dec.SkipValue()
	}
	return jsonv2.UnmarshalDecode(dec, &o.Value)
}

var errNUL = errors.New("a text with a NUL character")

// readText reads a string. It refuses NUL characters, which databases cannot store, and
// null in a list.
func readText(dec *jsontext.Decoder, text *string) error {
	if parent, _ := dec.StackIndex(dec.StackDepth()); dec.PeekKind() == 'n' && parent != '[' {
		return dec.SkipValue()
	}
	token, err := dec.ReadToken()
	if err != nil {
		return err
	}
	if token.Kind() != '"' {
		return errors.New("not a string")
	}
	if *text = token.String(); strings.IndexByte(*text, 0) >= 0 {
		return errNUL
	}
	return nil
}
