package peers_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/flytest"
)

// These tests replace tests with peers that are not available in CI. Signatures by
// these peers are recorded in testdata/interop of the repository. For the same
// request, key and time, flytest must sign the same bytes, because the peers' verifiers
// compute those.

// A recording is a genuine request that a peer signed.
type recording struct {
	Name    string
	Scheme  string
	Secret  []byte `json:"secret_base64"`
	KeyID   string `json:"key_id"`
	Now     int64
	Request struct {
		Method  string
		URL     string
		Headers [][2]string
		Body    []byte `json:"body_base64"`
	}
	SignatureBase string `json:"signature_base"`
	Valid         bool
}

func recordings(t *testing.T, file string) []recording {
	t.Helper()
	text, err := os.ReadFile("../../testdata/interop/" + file + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var all []recording
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(c recording) bool { return !c.Valid || c.SignatureBase == "" })
}

func (c *recording) key() flyext.Key { return flyext.Key{ID: c.KeyID, Secret: string(c.Secret)} }

func (c *recording) header(name string) string {
	for _, h := range c.Request.Headers {
		if strings.EqualFold(h[0], name) {
			return h[1]
		}
	}
	return ""
}

// sign signs the recorded request with flytest.
func (c *recording) sign(t *testing.T, signer flytest.Signer) *http.Request {
	t.Helper()
	u, err := url.Parse(c.Request.URL)
	if err != nil {
		t.Fatal(err)
	}
	root := u.Scheme + "://" + u.Host
	fly := &flytest.Platform{BaseURL: root, Signer: signer, Now: func() time.Time { return time.Unix(c.Now, 0) }}
	r, err := fly.NewRequest(t.Context(), c.Request.Method, strings.TrimPrefix(c.Request.URL, root), c.Request.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var headersParameter = regexp.MustCompile(`headers="([^"]*)"`)

// TestRecordedCavage compares signatures with those of draft-cavage libraries for
// Ruby and Python, byte for byte.
func TestRecordedCavage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		peer, file string
		compared   int // expected number of compared recordings
	}{
		{"99designs http-signatures-ruby 1.0.4", "ruby-http-signatures", 14},
		{"planetscale http-signatures-ruby 1.0.4", "ruby-http-signatures-planetscale", 14},
		{"requests-http-signature 0.1.0", "pyauth-requests-http-signature-v0.1.0-cavage", 12},
		{"requests-http-signature 8d615ea", "pyauth-requests-http-signature-8d615ea-cavage", 13},
		{"requests-http-signature 0.2.0", "pyauth-requests-http-signature-v0.2.0-cavage", 12},
	} {
		t.Run(c.peer, func(t *testing.T) {
			t.Parallel()
			compared := 0
			for _, sent := range recordings(t, c.file) {
				if strings.HasSuffix(sent.header("Date"), "-0000") || strings.Contains(sent.SignatureBase, "(expires)") {
					continue // flytest writes dates in GMT and does not sign (expires)
				}
				compared++
				compareCavage(t, &sent)
			}
			if compared != c.compared {
				t.Errorf("compared %d recordings, want %d", compared, c.compared)
			}
		})
	}
}

func compareCavage(t *testing.T, sent *recording) {
	t.Helper()
	inAuthorization, repeated := strings.CutPrefix(sent.header("Authorization"), "Signature ")
	want := sent.header("Signature")
	if want == "" {
		want = inAuthorization
	}
	found := headersParameter.FindStringSubmatch(want)
	if found == nil {
		t.Fatalf("%s: no signature in %q", sent.Name, sent.Request.Headers)
	}
	covered := strings.Fields(found[1])
	r := sent.sign(t, flytest.CavageOptions{
		Headers:               covered,
		CoverDigest:           slices.Contains(covered, "digest"),
		Created:               strings.Contains(want, ",created="),
		RepeatAsAuthorization: repeated,
	}.Cavage(sent.key()))
	if got := flytest.SignatureBase(r); got != sent.SignatureBase {
		t.Errorf("%s: signed\n%s\nwant\n%s", sent.Name, got, sent.SignatureBase)
	}
	if got := r.Header.Get("Signature"); got != want {
		t.Errorf("%s: Signature: %s\nwant %s", sent.Name, got, want)
	}
	if got := r.Header.Get("Authorization"); repeated && got != sent.header("Authorization") {
		t.Errorf("%s: Authorization: %s\nwant %s", sent.Name, got, sent.header("Authorization"))
	}
	for _, name := range []string{"Date", "Digest"} {
		if got := r.Header.Get(name); slices.Contains(covered, strings.ToLower(name)) && got != sent.header(name) {
			t.Errorf("%s: %s: %s, want %s", sent.Name, name, got, sent.header(name))
		}
	}
}

// fields is a Signer that sets header fields.
type fields map[string]string

func (f fields) Sign(r *http.Request, _ time.Time) error {
	for name, value := range f {
		r.Header.Set(name, value)
	}
	return nil
}

// TestRecordedRFC9421 compares signature bases with those of Python's
// http-message-signatures, except for the order of the parameters in the last line,
// which each signer chooses.
func TestRecordedRFC9421(t *testing.T) {
	t.Parallel()
	t.Run("python http-message-signatures 2.0.0", func(t *testing.T) {
		t.Parallel()
		compared := 0
		for _, sent := range recordings(t, "pyauth-requests-http-signature") {
			lines, input, _ := strings.Cut(sent.SignatureBase, `"@signature-params": `)
			list, _, _ := strings.Cut(strings.TrimPrefix(input, "("), ")")
			components := strings.Fields(strings.ReplaceAll(list, `"`, ""))
			if slices.Contains(components, "@request-target") || strings.Contains(lines, "sha-512=") {
				continue // flytest supports neither
			}
			compared++
			r := sent.sign(t, flytest.All(
				fields{"Date": sent.header("Date"), "Authorization": sent.header("Authorization")},
				flytest.RFC9421Options{Components: components}.RFC9421(sent.key()),
			))
			got, gotInput, _ := strings.Cut(flytest.SignatureBase(r), `"@signature-params": `)
			if got != lines || !strings.HasPrefix(gotInput, "("+list+");") {
				t.Errorf("%s: signed\n%s\nwant\n%s", sent.Name, flytest.SignatureBase(r), sent.SignatureBase)
			}
			if got := r.Header.Get("Content-Digest"); strings.Contains(lines, "digest") && got != sent.header("Content-Digest") {
				t.Errorf("%s: Content-Digest: %s", sent.Name, got)
			}
		}
		if compared != 38 {
			t.Errorf("compared %d recordings, want 38", compared)
		}
	})
}

// TestRecordedZntrio compares signing strings with the examples in the README of
// zntrio/httpsig. flytest also covers Date, and chooses its own order and nonce.
func TestRecordedZntrio(t *testing.T) {
	t.Parallel()
	t.Run("zntrio httpsig 1.0.0", func(t *testing.T) {
		t.Parallel()
		compared := 0
		for _, sent := range recordings(t, "zntrio-httpsig") {
			if !strings.HasPrefix(sent.Name, "zntrio/readme/") {
				continue
			}
			compared++
			r := sent.sign(t, flytest.All(fields{"Authorization": sent.header("Authorization")}, flytest.Zntrio(sent.key())))
			want := zntrioLines(t, sent.SignatureBase)
			got := zntrioLines(t, flytest.SignatureBase(r))
			if want["date"] = sent.header("Date"); !maps.Equal(got, want) {
				t.Errorf("%s: signed %q\nwant %q", sent.Name, got, want)
			}
		}
		if compared != 3 {
			t.Errorf("compared %d recordings, want 3", compared)
		}
	})
}

// zntrioLines returns the lines of a signing string by name. It removes the parts
// of the last line that differ between requests.
func zntrioLines(t *testing.T, base string) map[string]string {
	t.Helper()
	text, ok := strings.CutSuffix(base, "\n")
	lines := make(map[string]string)
	for line := range strings.SplitSeq(text, "\n") {
		name, value, found := strings.Cut(line, ": ")
		lines[name] = value
		ok = ok && found
	}
	list, params, found := strings.Cut(lines["@signature-params"], ")")
	if !ok || !found {
		t.Fatalf("invalid signing string: %q", base)
	}
	for name := range strings.SplitSeq(strings.TrimPrefix(list, "("), ", ") {
		if _, ok := lines[name]; !ok {
			t.Errorf("%s is covered but has no line in %q", name, base)
		}
	}
	lines["@signature-params"] = regexp.MustCompile(`nonce="[^"]+"`).ReplaceAllString(params, `nonce="…"`)
	return lines
}
