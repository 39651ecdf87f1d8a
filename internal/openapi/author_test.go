package openapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// An author is a provider that was written only from docs/openapi.yaml, without
// flyext. It uses net/http, its own status word, 201 for POST, a required user_name
// and ip_address, and an empty 200 for DELETE.
type author struct {
	base   *url.URL
	secret string

	mu        sync.Mutex
	nonces    map[string]time.Time
	instances map[string]*instance
}

type instance struct {
	name, password string
	status         string // "COMING_UP", then "ACTIVE_HEALTHY"
}

func newAuthor(base, secret string) *author {
	u, err := url.Parse(base)
	if err != nil {
		panic(err)
	}
	return &author{base: u, secret: secret, nonces: map[string]time.Time{}, instances: map[string]*instance{}}
}

func (a *author) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.EscapedPath(), a.base.Path)
	if strings.HasSuffix(path, "/sso") || path == "/callback" {
		a.fail(w, http.StatusNotImplemented, "unsupported", "This provider has no dashboard.")
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		a.fail(w, http.StatusRequestEntityTooLarge, "body_too_large", "The body is too large.")
		return
	}
	members, ok := a.verify(r, body)
	if !ok {
		a.fail(w, http.StatusUnauthorized, "unauthenticated", "The request is not authenticated.")
		return
	}
	escaped, isExtension := strings.CutPrefix(path, "/extensions/")
	id, err := url.PathUnescape(escaped)
	switch {
	case path == "/extensions" && r.Method == http.MethodPost:
		a.provision(w, members)
	case path == "/extensions/events" && r.Method == http.MethodPost:
		a.fail(w, http.StatusNotImplemented, "unsupported", "This provider receives no events.")
	case !isExtension || err != nil || id == "" || strings.Contains(escaped, "/"):
		a.fail(w, http.StatusNotFound, "route_not_found", "Not found. Check the URL.")
	default:
		a.extension(w, r.Method, id, members)
	}
}

// verify implements xSignature of the document. It returns the body's members.
func (a *author) verify(r *http.Request, body []byte) (members map[string]any, ok bool) {
	content := body
	fromQuery := r.Method == http.MethodGet || r.Method == http.MethodDelete
	if fromQuery {
		content = []byte(r.URL.RawQuery)
	}
	header := r.Header.Values("X-Signature")
	if len(header) != 1 || fromQuery && len(body) > 0 {
		return nil, false
	}
	sent, err := hex.DecodeString(header[0])
	if err != nil {
		sent, err = base64.StdEncoding.DecodeString(header[0])
	}
	mac := hmac.New(sha256.New, []byte(a.secret))
	mac.Write(content)
	if err != nil || !hmac.Equal(sent, mac.Sum(nil)) {
		return nil, false
	}
	var timestamp, nonce, target string
	if fromQuery {
		q := r.URL.Query()
		timestamp, nonce, target = q.Get("timestamp"), q.Get("nonce"), q.Get("url")
	} else {
		decoder := json.NewDecoder(strings.NewReader(string(body)))
		decoder.UseNumber()
		err := decoder.Decode(&members)
		if _, end := decoder.Token(); err != nil || end != io.EOF {
			return map[string]any{"": nil}, true // signed, but not a JSON object: 400
		}
		nonce, _ = members["nonce"].(string)
		target, _ = members["url"].(string)
		switch t := members["timestamp"].(type) {
		case json.Number:
			timestamp = t.String()
		case string:
			timestamp = t
		}
	}
	return members, a.fresh(timestamp, nonce) && a.isHere(target, r) && a.isNew(nonce)
}

func (a *author) fresh(timestamp, nonce string) bool {
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	age := time.Since(time.Unix(seconds, 0))
	return err == nil && nonce != "" && age <= 5*time.Minute && age >= -time.Minute
}

func (a *author) isHere(target string, r *http.Request) bool {
	u, err := url.Parse(target)
	return err == nil && u.Scheme == a.base.Scheme && u.Host == a.base.Host && u.EscapedPath() == r.URL.EscapedPath()
}

func (a *author) isNew(nonce string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for n, expires := range a.nonces {
		if time.Now().After(expires) {
			delete(a.nonces, n)
		}
	}
	if _, used := a.nonces[nonce]; used {
		return false
	}
	a.nonces[nonce] = time.Now().Add(7 * time.Minute)
	return true
}

func (a *author) provision(w http.ResponseWriter, members map[string]any) {
	if _, broken := members[""]; broken || members == nil {
		a.fail(w, http.StatusBadRequest, "malformed_body", "The body is not a JSON object.")
		return
	}
	for _, name := range []string{"id", "organization_id", "user_name", "ip_address"} {
		if text, _ := members[name].(string); text == "" {
			a.fail(w, http.StatusUnprocessableEntity, "invalid_field", "The field "+name+" is missing.")
			return
		}
	}
	if address, err := netip.ParseAddr(members["ip_address"].(string)); err != nil || !address.Is6() {
		a.fail(w, http.StatusUnprocessableEntity, "invalid_field", "The field ip_address must be an IPv6 address.")
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	id := members["id"].(string)
	if a.instances[id] == nil {
		name, _ := members["name"].(string)
		a.instances[id] = &instance{name: name, password: "p-" + id, status: "COMING_UP"}
	}
	a.answer(w, http.StatusCreated, id)
}

func (a *author) extension(w http.ResponseWriter, method, id string, members map[string]any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	found := a.instances[id]
	switch {
	case method == http.MethodDelete:
		delete(a.instances, id)
		w.WriteHeader(http.StatusOK) // without a body
	case method != http.MethodGet && method != http.MethodPatch:
		w.Header().Set("Allow", "DELETE, GET, PATCH")
		a.fail(w, http.StatusMethodNotAllowed, "method_not_allowed", "This method is not allowed here.")
	case found == nil:
		a.fail(w, http.StatusNotFound, "not_found", "Instance not found.")
	default:
		if _, broken := members[""]; broken {
			a.fail(w, http.StatusBadRequest, "malformed_body", "The body is not a JSON object.")
			return
		}
		if name, ok := members["name"].(string); ok {
			found.name = name
		}
		if found.status == "COMING_UP" && method == http.MethodGet {
			found.status = "ACTIVE_HEALTHY"
		}
		a.answer(w, http.StatusOK, id)
	}
}

func (a *author) answer(w http.ResponseWriter, status int, id string) {
	found := a.instances[id]
	a.write(w, status, map[string]any{
		"id": id, "name": found.name, "status": found.status, "config": map[string]string{"DATABASE_URL": "postgres://u:" + found.password + "@db"},
	})
}

func (a *author) fail(w http.ResponseWriter, status int, code, message string) {
	a.write(w, status, map[string]string{"error": code, "message": message})
}

func (a *author) write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

// TestProviderFromTheDocument checks that a provider written from the document
// conforms.
func TestProviderFromTheDocument(t *testing.T) {
	t.Parallel()
	checked := &checker{document: readDocument(t), t: t, handler: newAuthor(baseURL, secret), seen: map[string][]int{}}
	server := httptest.NewTLSServer(checked)
	t.Cleanup(server.Close)
	c := flytest.Conformance{
		BaseURL: baseURL, Client: server.Client(), Credentials: flytest.Credentials{SigningSecret: secret},
		Statuses: map[string]flyext.Status{"ACTIVE_HEALTHY": flyext.Ready},
	}
	c.Test(t)
}
