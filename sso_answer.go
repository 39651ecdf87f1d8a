package flyext

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// This file reads the responses of Fly.io's OAuth server. Members that matter to the
// sign-on are read strictly. Other members may have any type.

var (
	errAccessToken = errors.New(`"access_token" must be a string that is not empty`)
	errTokenUser   = errors.New(`"user_id" must be a string that is not empty`)
	errApplication = errors.New(`"application" must be an object with a string "uid"`)
	errMemberships = errors.New(`"organizations" must be an array`)
)

// members reads a JSON object.
func members(body []byte) (map[string]jsontext.Value, error) {
	var b eventBody
	err := b.read(body)
	if e, ok := errors.AsType[*Error](err); ok {
		reason, _, _ := strings.Cut(e.Message, " (at ") // names in the response must not reach the log
		return nil, errors.New(reason)
	}
	return b.members, err
}

// A tokenAnswer is a successful response of the token endpoint (RFC 6749, section 5.1).
type tokenAnswer struct{ accessToken, refreshToken, scope string }

func decodeToken(body []byte) (*tokenAnswer, error) {
	m, err := members(body)
	if err != nil {
		return nil, err
	}
	t := &tokenAnswer{textOf(m["access_token"]), textOf(m["refresh_token"]), scopeOf(m["scope"])}
	if t.accessToken == "" {
		return nil, errAccessToken
	}
	return t, nil
}

// failureOf returns the error code in a response of the token endpoint (RFC 6749,
// section 5.2), or "". Some servers refuse with a form instead of JSON. A refusal must be
// found even in a malformed object, because it ends a session; see [SignOn.Recheck].
func failureOf(status int, body []byte) string {
	var answer struct {
		Error jsontext.Value `json:"error"`
	}
	if jsontext.Value(body).Kind() == '{' {
		_ = jsonv2.Unmarshal(body, &answer, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
		return textOf(answer.Error)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil || status != http.StatusBadRequest {
		return ""
	}
	return form.Get("error")
}

// scopeOf returns a scope, which some servers write as an array.
func scopeOf(value jsontext.Value) string {
	if value.Kind() != '[' {
		return textOf(value)
	}
	var scopes []string
	list, _ := elements(value) // the syntax was checked with the body's
	for _, element := range list {
		scopes = append(scopes, textOf(element))
	}
	return strings.Join(scopes, " ")
}

// A tokenInfo is the user of a token, and the application that it was issued to.
type tokenInfo struct {
	userID, userName, email string
	hasApplication          bool
	application             string // the uid
	organizations           []Membership
}

func decodeTokenInfo(body []byte) (*tokenInfo, error) {
	m, err := members(body)
	if err != nil {
		return nil, err
	}
	info := &tokenInfo{userID: textOf(m["user_id"]), userName: textOf(m["user_name"]), email: textOf(m["email"])}
	if info.userID == "" && !isPresent(m["user_id"]) {
		info.userID = textOf(m["resource_owner_id"])
	}
	if info.userID == "" {
		return nil, errTokenUser
	}
	if err := info.readApplication(m["application"]); err != nil {
		return nil, err
	}
	list := m["organizations"]
	if isPresent(list) && list.Kind() != '[' {
		return nil, errMemberships
	}
	if !isPresent(list) {
		return info, nil
	}
	all, _ := elements(list) // the syntax was checked with the body's
	for _, element := range all {
		o, err := members(element)
		if id := textOf(o["id"]); err == nil && id != "" { // a malformed element cannot match an organization
			info.organizations = append(info.organizations, Membership{OrganizationID: id, Role: textOf(o["role"])})
		}
	}
	return info, nil
}

// readApplication reads the uid of the application, if there is one.
func (info *tokenInfo) readApplication(value jsontext.Value) error {
	if !isPresent(value) {
		return nil
	}
	m, err := members(value)
	if err != nil {
		return errApplication
	}
	uid := m["uid"]
	if !isPresent(uid) {
		return nil
	}
	if uid.Kind() != '"' {
		return errApplication
	}
	info.hasApplication, info.application = true, textOf(uid)
	return nil
}

// isPresent reports whether a member is present and not null.
func isPresent(value jsontext.Value) bool { return value != nil && value.Kind() != 'n' }
