package flyext_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
)

// An interopCase is a request that third-party software signed, or a tampered variant
// of one, with the expected verdict. testdata/interop/README.md describes the members.
type interopCase struct {
	Name         string
	Signer       string
	Scheme       string
	SecretBase64 string `json:"secret_base64"`
	KeyID        string `json:"key_id"`
	Now          int64
	BaseURL      string `json:"base_url"`
	Request      struct {
		Method     string
		URL        string
		Headers    [][2]string
		BodyBase64 string `json:"body_base64"`
	}
	Valid           bool
	Why             string
	Covers          []string
	OptionalFeature any `json:"optional_feature"`
}

func readInterop(t testing.TB) []interopCase {
	t.Helper()
	files, err := filepath.Glob("testdata/interop/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata/interop has no recordings: %v", err)
	}
	var all []interopCase
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var cases []interopCase
		if err := json.Unmarshal(text, &cases); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, cases...)
	}
	return all
}

// request parses the recorded bytes with net/http.
func (c *interopCase) request(t testing.TB) *http.Request {
	t.Helper()
	_, rest, _ := strings.Cut(c.Request.URL, "://")
	target := "/"
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		target = rest[i:]
	}
	body, err := base64.StdEncoding.DecodeString(c.Request.BodyBase64)
	if err != nil {
		t.Fatal(err)
	}
	var wire bytes.Buffer
	fmt.Fprintf(&wire, "%s %s HTTP/1.1\r\n", c.Request.Method, target)
	hasLength := false
	for _, h := range c.Request.Headers {
		fmt.Fprintf(&wire, "%s: %s\r\n", h[0], h[1])
		hasLength = hasLength || strings.EqualFold(h[0], "Content-Length")
	}
	wire.WriteString("\r\n")
	wire.Write(body)
	r, err := http.ReadRequest(bufio.NewReader(&wire))
	if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	if !hasLength && len(body) > 0 { // a recording without Content-Length
		r.Body, r.ContentLength = http.NoBody, int64(len(body))
		r.Body = readCloser{bytes.NewReader(body)}
	}
	return r
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

func (c *interopCase) check(t testing.TB, p flyext.Policy) error {
	t.Helper()
	secret, err := base64.StdEncoding.DecodeString(c.SecretBase64)
	if err != nil {
		t.Fatal(err)
	}
	var v flyext.Verifier
	switch c.Scheme {
	case "x-signature":
		v = p.XSignature(string(secret))
	case "zntrio-draft":
		p.ZntrioDialect = true
		fallthrough
	default:
		v = p.MessageSignature(flyext.Key{ID: c.KeyID, Secret: string(secret)})
	}
	auth, err := flyext.NewAuthenticator(flyext.Config{
		BaseURL:  c.BaseURL,
		Verifier: v,
		Now:      func() time.Time { return time.Unix(c.Now, 0) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return auth.Check(c.request(t))
}

// refusedFeatures are optional features that flyext refuses.
var refusedFeatures = []string{
	"request-line (pre-draft-03)", // a signed line without a name, unused for ten years
}

func TestInterop(t *testing.T) {
	t.Parallel()
	for _, c := range readInterop(t) {
		want := c.Valid
		if feature, ok := c.OptionalFeature.(string); ok && slices.Contains(refusedFeatures, feature) {
			want = false
		}
		err := c.check(t, flyext.Policy{InsecureSkipCoverage: true})
		if (err == nil) != want {
			t.Errorf("%s, signed by %s: got %v, want valid = %v %s", c.Name, c.Signer, err, want, c.Why)
		}
	}
}
