package bench

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"hash"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	maxAge    = 5 * time.Minute
	clockSkew = time.Minute
	maxBody   = 1 << 20
)

// A verifierFloor is a hand-written verifier for a single format of message
// signature. It allocates nothing and refuses other formats.
type verifierFloor struct{ pool sync.Pool }

// scratch is the memory of one verification: a hash with its key already hashed,
// the signature base, and the sums.
type scratch struct {
	hash    hash.Hash
	base    []byte
	text    []byte
	sum     [sha256.Size]byte
	claimed [sha256.Size + 1]byte // base64.Decode needs room for 33 bytes
	digest  [sha256.Size]byte
}

func newScratch() any {
	s := &scratch{
		hash: hmac.New(sha256.New, []byte(secret)),
		base: make([]byte, 0, 1024),
		text: make([]byte, 0, 128),
	}
	s.hash.Reset() // from now on, Reset restores the hashed key
	return s
}

func newVerifierFloor() *verifierFloor { return &verifierFloor{sync.Pool{New: newScratch}} }

func only(h http.Header, name string) (string, bool) {
	if values := h[name]; len(values) == 1 {
		return values[0], true
	}
	return "", false
}

func fresh(now, signed time.Time) bool {
	return now.Sub(signed) <= maxAge && signed.Sub(now) <= clockSkew
}

// matches compares the MAC of the base with a MAC in base64.
func (s *scratch) matches(mac string) bool {
	if len(mac) != 44 {
		return false
	}
	s.text = append(s.text[:0], mac...)
	n, err := base64.StdEncoding.Decode(s.claimed[:], s.text)
	if err != nil || n != sha256.Size {
		return false
	}
	s.hash.Reset()
	s.hash.Write(s.base)
	s.hash.Sum(s.sum[:0])
	return subtle.ConstantTimeCompare(s.sum[:], s.claimed[:n]) == 1
}

// digests compares the digest of a body with a digest in base64.
func (s *scratch) digests(body []byte, claimed string) bool {
	s.digest = sha256.Sum256(body)
	s.text = base64.StdEncoding.AppendEncode(s.text[:0], s.digest[:])
	return string(s.text) == claimed
}

// between returns the text between a prefix and a suffix.
func between(text, prefix, suffix string) (string, bool) {
	text, ok := strings.CutPrefix(text, prefix)
	if !ok {
		return "", false
	}
	return strings.CutSuffix(text, suffix)
}

// digits parses unix seconds.
func digits(text string) (n int64, ok bool) {
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(text[i]-'0')
	}
	return n, text != "" && len(text) < 16
}

// rfc9421 verifies the signature of rfc9421Header.
func (f *verifierFloor) rfc9421(method, target string, h http.Header, body []byte, now time.Time) bool {
	const input = `sig1=("@method" "@target-uri" "content-type" "content-length" "content-digest")` +
		`;keyid="` + keyID + `";alg="hmac-sha256";tag="flyio";nonce="`
	signatureInput, ok1 := only(h, "Signature-Input")
	signature, ok2 := only(h, "Signature")
	contentType, ok3 := only(h, "Content-Type")
	length, ok4 := only(h, "Content-Length")
	contentDigest, ok5 := only(h, "Content-Digest")
	rest, ok6 := strings.CutPrefix(signatureInput, input)
	mac, ok7 := between(signature, "sig1=:", ":")
	digest, ok8 := between(contentDigest, "sha-256=:", ":")
	nonce, text, ok9 := strings.Cut(rest, `";created=`)
	created, ok10 := digits(text)
	if !(ok1 && ok2 && ok3 && ok4 && ok5 && ok6 && ok7 && ok8 && ok9 && ok10) || nonce == "" || strings.ContainsAny(nonce, `"\`) {
		return false
	}
	s := f.pool.Get().(*scratch)
	defer f.pool.Put(s)
	b := append(s.base[:0], `"@method": `...)
	b = append(b, method...)
	b = append(b, "\n\"@target-uri\": https://"+authority...)
	b = append(b, target...)
	b = append(b, "\n\"content-type\": "...)
	b = append(b, contentType...)
	b = append(b, "\n\"content-length\": "...)
	b = append(b, length...)
	b = append(b, "\n\"content-digest\": "...)
	b = append(b, contentDigest...)
	b = append(b, "\n\"@signature-params\": "...)
	s.base = append(b, signatureInput[len("sig1="):]...)
	return s.matches(mac) && s.digests(body, digest) && fresh(now, time.Unix(created, 0))
}

// cavage verifies the signature of cavageHeader.
func (f *verifierFloor) cavage(method, target string, h http.Header, body []byte, now time.Time) bool {
	const prefix = `keyId="` + keyID + `",algorithm="hmac-sha256",headers="(request-target) date digest content-length",signature="`
	signature, ok1 := only(h, "Signature")
	date, ok2 := only(h, "Date")
	digestField, ok3 := only(h, "Digest")
	length, ok4 := only(h, "Content-Length")
	mac, ok5 := between(signature, prefix, `"`)
	digest, ok6 := strings.CutPrefix(digestField, "SHA-256=")
	if !(ok1 && ok2 && ok3 && ok4 && ok5 && ok6) {
		return false
	}
	signed, err := time.Parse(http.TimeFormat, date)
	if err != nil {
		return false
	}
	s := f.pool.Get().(*scratch)
	defer f.pool.Put(s)
	b := append(s.base[:0], "(request-target): "...)
	for i := range len(method) {
		b = append(b, method[i]|0x20)
	}
	b = append(b, ' ')
	b = append(b, target...)
	b = append(b, "\ndate: "...)
	b = append(b, date...)
	b = append(b, "\ndigest: "...)
	b = append(b, digestField...)
	b = append(b, "\ncontent-length: "...)
	s.base = append(b, length...)
	return s.matches(mac) && s.digests(body, digest) && fresh(now, signed)
}

// An xFloor reads a body and checks its X-Signature without allocations.
type xFloor struct{ pool sync.Pool }

type xScratch struct {
	hash hash.Hash
	body []byte
	text [2 * sha256.Size]byte
	sum  [sha256.Size]byte
	got  [sha256.Size]byte
}

func newXFloor() *xFloor {
	return &xFloor{sync.Pool{New: func() any {
		s := &xScratch{hash: hmac.New(sha256.New, []byte(secret)), body: make([]byte, 0, 4096)}
		s.hash.Reset()
		return s
	}}}
}

func (f *xFloor) check(r *http.Request) bool {
	signature, ok := only(r.Header, "X-Signature")
	if !ok || len(signature) != 2*sha256.Size {
		return false
	}
	s := f.pool.Get().(*xScratch)
	defer f.pool.Put(s)
	if ok := s.read(r.Body); !ok {
		return false
	}
	copy(s.text[:], signature)
	if _, err := hex.Decode(s.got[:], s.text[:]); err != nil {
		return false
	}
	s.hash.Reset()
	s.hash.Write(s.body)
	s.hash.Sum(s.sum[:0])
	return subtle.ConstantTimeCompare(s.sum[:], s.got[:]) == 1
}

// read reads a body of limited size into the existing buffer.
func (s *xScratch) read(body io.Reader) bool {
	s.body = s.body[:0]
	for {
		n, err := body.Read(s.body[len(s.body):cap(s.body)])
		s.body = s.body[:len(s.body)+n]
		switch {
		case err == io.EOF:
			return len(s.body) <= maxBody
		case err != nil || len(s.body) > maxBody:
			return false
		case len(s.body) == cap(s.body):
			s.body = append(s.body, 0)[:len(s.body)]
		}
	}
}

// bareHandler is a simple hand-written handler for a single service: it reads the
// body, checks the HMAC, and uses encoding/json to decode and encode. It has no
// time check, nonces, deadline, panic recovery, size limit or log.
type bareHandler struct {
	key       []byte
	provision func(*bareRequest) (*bareAnswer, error)
}

type bareRequest struct {
	ID                string   `json:"id"`
	Name              string   `json:"name"`
	OrganizationID    string   `json:"organization_id"`
	OrganizationName  string   `json:"organization_name"`
	OrganizationEmail string   `json:"organization_email"`
	UserID            string   `json:"user_id"`
	UserEmail         string   `json:"user_email"`
	UserRole          string   `json:"user_role"`
	PrimaryRegion     string   `json:"primary_region"`
	ReadRegions       []string `json:"read_regions"`
	IPAddress         string   `json:"ip_address"`
	Timestamp         int64    `json:"timestamp"`
	Nonce             string   `json:"nonce"`
	URL               string   `json:"url"`
}

type bareAnswer struct {
	ID     string            `json:"id"`
	Config map[string]string `json:"config"`
	Name   string            `json:"name,omitempty"`
}

// secretsOf are the secrets in both handlers' responses.
var secretsOf = map[string]string{
	"LOGJAM_URL":    "https://collider:Zs8vJ2mTq1xW@collider-prod.logjam.org/v1",
	"LOGJAM_TOKEN":  "lj_live_4f0c7d7d7e5b4c39a1d0",
	"LOGJAM_REGION": "mad",
}

func newBareHandler() *bareHandler {
	answer := &bareAnswer{ID: "lj-7f3a", Config: secretsOf, Name: "collider-prod"}
	return &bareHandler{[]byte(secret), func(*bareRequest) (*bareAnswer, error) { return answer, nil }}
}

func (h *bareHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "cannot read the body", http.StatusBadRequest)
		return
	}
	signature, _ := hex.DecodeString(r.Header.Get("X-Signature"))
	mac := hmac.New(sha256.New, h.key)
	mac.Write(body)
	if !hmac.Equal(signature, mac.Sum(nil)) {
		http.Error(w, "unauthenticated", http.StatusUnauthorized)
		return
	}
	var req bareRequest
	if err := json.Unmarshal(body, &req); err != nil {
		http.Error(w, "malformed body", http.StatusBadRequest)
		return
	}
	answer, err := h.provision(&req)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	text, err := json.Marshal(answer)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(text)
}
