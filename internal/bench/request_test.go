package bench

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/flyext/flyext/flytest"
)

const (
	authority = "logjam.org"
	baseURL   = "https://" + authority + "/flyio"
	target    = "/flyio/extensions"
	targetURL = "https://" + authority + target
	keyID     = flytest.DefaultKeyID
	secret    = "a signing secret of thirty-eight bytes"
	nonceSize = 26
)

// epoch is the time of the first requests and the start of a benchmark's clock.
var epoch = time.Unix(1_685_641_159, 0)

// provisionSize is the body length in the table, in bytes.
const provisionSize = 436

// provisionBody returns a provision request with the fields of Fly.io's page and
// the parameters of X-Signature. It pads the organization's name so that the body
// has size bytes.
func provisionBody(size int) []byte {
	const (
		start = `{"timestamp":1685641159,"nonce":"AAAAAAAAAAAAAAAAAAAAAAAAAA","url":"` + targetURL + `",` +
			`"id":"30bqn49y2jh","name":"collider-prod","organization_id":"M03FclA4m","organization_name":"Collider`
		end = `","organization_email":"n4@logjam.org","user_id":"NeBO2v","user_email":"v0@logjam.org",` +
			`"user_role":"admin","primary_region":"mad","read_regions":["ord","nrt"],"ip_address":"fdaa::3"}`
	)
	return []byte(start + strings.Repeat("x", max(0, size-len(start)-len(end))) + end)
}

// Positions of the fields that differ between requests.
var (
	timestampAt = bytes.Index(provisionBody(0), []byte("1685641159"))
	nonceAt     = bytes.Index(provisionBody(0), []byte("AAAA"))
	idAt        = bytes.Index(provisionBody(0), []byte("30bqn49y2jh"))
)

// A signer computes HMACs for requests. It is not safe for concurrent use.
type signer struct {
	hash hash.Hash
	sum  []byte
	last uint64 // number of the last nonce
}

func newSigner(secret string) *signer { return &signer{hash: hmac.New(sha256.New, []byte(secret))} }

func (s *signer) mac(content []byte) []byte {
	s.hash.Reset()
	s.hash.Write(content)
	s.sum = s.hash.Sum(s.sum[:0])
	return s.sum
}

// stamp writes a new nonce, the time and a new extension id into a body. The ids
// differ because requests for the same extension wait for each other.
func (s *signer) stamp(body []byte, now time.Time) {
	s.last++
	nonce := body[nonceAt : nonceAt+nonceSize]
	for i, n := len(nonce)-1, s.last; i >= 0; i, n = i-1, n/26 {
		nonce[i] = 'A' + byte(n%26)
	}
	copy(body[idAt:], nonce[len(nonce)-len("30bqn49y2jh"):])
	strconv.AppendInt(body[timestampAt:timestampAt], now.Unix(), 10)
}

func (s *signer) xSignature(body []byte) string {
	var text [2 * sha256.Size]byte
	hex.Encode(text[:], s.mac(body))
	return string(text[:])
}

// xSign stamps a body and returns its X-Signature.
func (s *signer) xSign(body []byte, now time.Time) string {
	s.stamp(body, now)
	return s.xSignature(body)
}

// The five components of the RFC 9421 row. One peer cannot read @target-uri.
var (
	byTargetURI = []string{"@method", "@target-uri", "content-type", "content-length", "content-digest"}
	byPath      = []string{"@method", "@path", "content-type", "content-length", "content-digest"}
)

// rfc9421Header returns the header of a POST of body with an RFC 9421 signature
// over components. It includes the fields in more.
func rfc9421Header(secret string, components []string, more http.Header, body []byte, created time.Time) http.Header {
	digest := sha256.Sum256(body)
	h := http.Header{
		"Content-Type":   {"application/json"},
		"Content-Length": {strconv.Itoa(len(body))},
		"Content-Digest": {"sha-256=:" + base64.StdEncoding.EncodeToString(digest[:]) + ":"},
	}
	maps.Copy(h, more)
	derived := map[string]string{"@method": http.MethodPost, "@target-uri": targetURL, "@path": target}
	var text strings.Builder
	for _, name := range components {
		value := derived[name]
		if value == "" {
			value = h.Get(name)
		}
		fmt.Fprintf(&text, "%q: %s\n", name, value)
	}
	params := fmt.Sprintf(`("%s");keyid="%s";alg="hmac-sha256";tag="flyio";nonce="B4785E2pU5RnxxqTYYJtHdAcyR7OB503";created=%d`,
		strings.Join(components, `" "`), keyID, created.Unix())
	fmt.Fprintf(&text, "%q: %s", "@signature-params", params)
	h.Set("Signature-Input", "sig1="+params)
	h.Set("Signature", "sig1=:"+base64.StdEncoding.EncodeToString(newSigner(secret).mac([]byte(text.String())))+":")
	return h
}

// cavageHeader returns the header of a POST of body with a draft-cavage signature.
func cavageHeader(secret string, body []byte, now time.Time) http.Header {
	digest := sha256.Sum256(body)
	h := http.Header{
		"Content-Type":   {"application/json"},
		"Content-Length": {strconv.Itoa(len(body))},
		"Date":           {now.UTC().Format(http.TimeFormat)},
		"Digest":         {"SHA-256=" + base64.StdEncoding.EncodeToString(digest[:])},
	}
	signingString := "(request-target): post " + target + "\n" +
		"date: " + h.Get("Date") + "\n" +
		"digest: " + h.Get("Digest") + "\n" +
		"content-length: " + h.Get("Content-Length")
	h.Set("Signature", `keyId="`+keyID+`",algorithm="hmac-sha256",headers="(request-target) date digest content-length",signature="`+
		base64.StdEncoding.EncodeToString(newSigner(secret).mac([]byte(signingString)))+`"`)
	return h
}

// A batch is a set of X-Signed requests in the form that net/http passes to a
// handler. It can be signed again without allocations.
type batch struct {
	signer   *signer
	now      time.Time
	bodies   [][]byte
	readers  []bytes.Reader
	requests []http.Request
}

const (
	// batchSize is small enough for a core's cache, which also holds the bytes of
	// a request that was just received.
	batchSize = 256
	// batchTime is the time between batches. It results in 2,048 requests per
	// second, which fill two thirds of the default replay store in six minutes.
	batchTime = 125 * time.Millisecond
)

func newBatch(size int) *batch { return newBatchWith(size, xFields) }

// newBatchWith returns a batch of requests with a number of header fields.
func newBatchWith(size, fields int) *batch {
	b := &batch{
		signer: newSigner(secret), now: epoch,
		bodies: make([][]byte, batchSize), readers: make([]bytes.Reader, batchSize), requests: make([]http.Request, batchSize),
	}
	for i := range b.bodies {
		b.bodies[i] = provisionBody(size)
		b.requests[i] = *xRequest(b.bodies[i], forgedSignature)
		withFields(b.requests[i].Header, fields)
	}
	return b
}

// clock returns the time of the requests.
func (b *batch) clock() time.Time { return b.now }

// sign signs all requests again with new nonces and a later time.
func (b *batch) sign() {
	b.now = b.now.Add(batchTime)
	for i, body := range b.bodies {
		b.requests[i].Header["X-Signature"][0] = b.signer.xSign(body, b.now)
		b.rewind(i)
	}
}

// A content is a reader with a Close method. Unlike io.NopCloser it needs no
// allocation.
type content struct{ *bytes.Reader }

func (content) Close() error { return nil }

// rewind restores the body of a request.
func (b *batch) rewind(i int) {
	b.readers[i].Reset(b.bodies[i])
	b.requests[i].Body = content{&b.readers[i]}
}

// xFields is the number of header fields of an X-Signed request.
const xFields = 5

// withFields adds fields to h until it has n.
func withFields(h http.Header, n int) http.Header {
	for i := len(h); i < n; i++ {
		h[fmt.Sprintf("X-Field-%d", i)] = []string{"a header that some proxy added"}
	}
	return h
}

// xRequest returns a POST in the form that net/http passes to a handler. If
// signature is "", it is unsigned.
func xRequest(body []byte, signature string) *http.Request {
	h := http.Header{
		"Accept": {"application/json"}, "Content-Type": {"application/json"}, "User-Agent": {"Fly.io"},
		"Content-Length": {strconv.Itoa(len(body))},
	}
	if signature != "" {
		h["X-Signature"] = []string{signature}
	}
	return &http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: target}, RequestURI: target, Host: authority,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RemoteAddr: "127.0.0.1:40000",
		Header: h, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	}
}

// forgedSignature is well-formed but wrong.
var forgedSignature = strings.Repeat("5a", sha256.Size)
