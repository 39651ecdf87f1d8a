package flytest

import (
	"bytes"
	"crypto/hmac"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/flyext/flyext"
)

// accept verifies a webhook, sets the fields of hook, and stores the state of the
// resource. Like the verification of a provider, it checks the signature before it
// parses the body, and uses up the nonce last.
func (s *WebhookReceiver) accept(hook *Webhook, w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return &webhookRefusal{http.StatusMethodNotAllowed, "the method must be POST"}
	}
	signatures := r.Header["X-Signature"]
	want := hex.EncodeToString(hmacSHA256(s.Secret, hook.Body))
	if len(signatures) != 1 || !hmac.Equal([]byte(signatures[0]), []byte(want)) {
		return forbidden("X-Signature is not the HMAC-SHA256 of the body, in lower-case hex")
	}
	members, err := decodeObject(hook.Body)
	if err != nil {
		return unusable("the body is not a JSON object")
	}
	if err := s.checkSigned(hook, members, s.url(r)); err != nil {
		return err
	}
	if err := readResource(hook, members); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.useNonce(hook) {
		return forbidden("the nonce was used before")
	}
	if s.resources == nil {
		s.resources = make(map[string]Webhook)
	}
	last, known := s.resources[hook.Resource.ID]
	if known && last.Action == hook.Action && bytes.Equal(resourceOf(last.Body), resourceOf(hook.Body)) {
		s.stats.Repeated++
	}
	s.resources[hook.Resource.ID] = *hook
	return nil
}

// url returns the URL for which a webhook must be signed.
func (s *WebhookReceiver) url(r *http.Request) string {
	if s.URL != "" {
		return s.URL
	}
	u := url.URL{Scheme: "http", Host: r.Host, Path: r.URL.Path, RawPath: r.URL.RawPath}
	if r.TLS != nil {
		u.Scheme = "https"
	}
	return u.String()
}

// checkSigned checks the timestamp and the url, and reads the nonce.
func (s *WebhookReceiver) checkSigned(hook *Webhook, members map[string]jsontext.Value, target string) error {
	timestamp := string(members["timestamp"])
	if members["timestamp"].Kind() == '"' {
		timestamp, _ = text(members, "timestamp")
	}
	seconds, err := strconv.ParseUint(timestamp, 10, 40)
	if err != nil {
		return unusable("the timestamp is missing or not in Unix seconds")
	}
	hook.Timestamp = time.Unix(int64(seconds), 0)
	switch age := hook.Received.Sub(hook.Timestamp); {
	case age > webhookMaxAge:
		return forbidden("the timestamp is %v old", age)
	case age < -webhookSkew:
		return forbidden("the timestamp is %v ahead", -age)
	}
	var isText bool
	if _, ok := members["nonce"]; ok {
		if hook.Nonce, isText = text(members, "nonce"); !isText || hook.Nonce == "" {
			return unusable("the nonce must be a non-empty string")
		}
	}
	if _, ok := members["url"]; ok {
		if hook.URL, isText = text(members, "url"); !isText || withPath(hook.URL) != withPath(target) {
			return forbidden("the url is %q, but the webhook was sent to %q", hook.URL, target)
		}
	}
	return nil
}

// withPath adds the path "/" to a URL without a path, because both are equivalent
// (RFC 9110, section 4.2.3).
func withPath(text string) string {
	if u, err := url.Parse(text); err == nil && u.Path == "" {
		return text + "/"
	}
	return text
}

// useNonce stores the nonce, if there is one, and reports whether it is new. The
// caller holds the lock.
func (s *WebhookReceiver) useNonce(hook *Webhook) bool {
	if hook.Nonce == "" {
		return true
	}
	if s.nonces == nil {
		s.nonces = make(map[string]time.Time)
	}
	if hook.Received.Sub(s.swept) > webhookMaxAge {
		for nonce, until := range s.nonces {
			if until.Before(hook.Received) {
				delete(s.nonces, nonce)
			}
		}
		s.swept = hook.Received
	}
	if _, used := s.nonces[hook.Nonce]; used {
		return false
	}
	s.nonces[hook.Nonce] = hook.Received.Add(webhookMaxAge + webhookSkew)
	return true
}

// readResource reads and checks the action and the resource.
func readResource(hook *Webhook, members map[string]jsontext.Value) error {
	hook.Action, _ = text(members, "action")
	switch hook.Action {
	case "resource.created", "resource.updated", "resource.deleted":
	default:
		return unusable("unknown action %q", hook.Action)
	}
	if members["resource"].Kind() != '{' {
		return unusable("the resource is not a JSON object")
	}
	resource, err := decodeObject(members["resource"])
	if err != nil {
		return unusable("the resource is not a JSON object")
	}
	if _, ok := resource["config"]; ok {
		return unusable(`the resource has a "config", but a webhook must not contain secrets`)
	}
	if id, ok := text(resource, "id"); !ok || id == "" {
		return unusable(`the resource has no "id"`)
	}
	x, err := decodeExtension(members["resource"], "")
	if err != nil {
		return unusable("the resource's %s", strings.TrimPrefix(err.Error(), "flytest: the answer's "))
	}
	if err := readOwner(x, resource, hook.Action); err != nil {
		return err
	}
	hook.Resource = *x
	return nil
}

// readOwner moves the organization and the user of a resource from the extras of x to
// their fields.
func readOwner(x *flyext.Extension, resource map[string]jsontext.Value, action string) error {
	for name, to := range map[string]*string{"organization_id": &x.OrganizationID, "user_id": &x.UserID} {
		value, ok := text(resource, name)
		_, there := resource[name]
		switch {
		case there && !ok:
			return unusable("the resource's %q is not a string", name)
		case value == "" && action == "resource.created":
			return unusable("resource.created requires the resource's %q", name)
		}
		*to = value
		delete(x.Extra, name)
	}
	if len(x.Extra) == 0 {
		x.Extra = nil
	}
	return nil
}

// text returns the value of a string member.
func text(members map[string]jsontext.Value, name string) (value string, ok bool) {
	if members[name].Kind() != '"' {
		return "", false
	}
	return value, jsonv2.Unmarshal(members[name], &value) == nil
}

// resourceOf returns the resource in an accepted body.
func resourceOf(body []byte) json.RawMessage {
	members, _ := decodeObject(body)
	return json.RawMessage(members["resource"])
}
