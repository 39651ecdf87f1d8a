package explain

import (
	"bytes"
	"context"
	"encoding/base64"
	"net/url"
	"strings"

	"github.com/flyext/flyext"
	"github.com/flyext/flyext/internal/mac"
	"github.com/flyext/flyext/internal/msgsig"
)

const (
	formatRFC9421 = "rfc9421"
	formatCavage  = "cavage"
)

// defaultKeyID is the key id of a signature that names none.
const defaultKeyID = "flyio-signing-secret"

// messageSignature explains an HTTP message signature. The library's verifier
// decides whether it is right. msgsig rebuilds the signed bytes.
func messageSignature(q Question, format string) *Answer {
	a := &Answer{Format: format, Verdict: Refused}
	m := newMessage(q)
	missing := q.Request.length() - len(q.Request.Body)
	if missing > 0 {
		m = m.padded(missing)
	}
	signatures := m.signatures(format)
	err := m.verify(q, signatures)
	best := m.best(signatures, q.Secret)
	if best.base != nil {
		a.Base, a.Expected = best.base, best.expected
	}
	const reading = "the signed components of the request"
	switch {
	case err == nil:
		a.Verdict, a.Reading = Accepted, reading
		a.add("The signature is right.")
	case !best.fits() && a.recapture(q, format, m):
	case best.mac && !best.digests && (missing > 0 || len(q.Request.Body) == 0 && q.Request.length() < 0):
		a.Reading = reading
		a.add("The MAC is right, so the secret is right.")
		a.incomplete(q)
	case best.fits():
		a.Reading = reading
		a.add("The signature does not verify: %v.", err)
		a.add("Its MAC is right: the secret and the signed bytes fit. The request is refused for the reason above.")
	case best.mac:
		a.Reading = reading
		a.add("The signature does not verify: %v.", err)
		a.add("The MAC is right, so the secret is right. The body differs from the signed digest: it was changed after its digest was computed.")
	default:
		a.add("The signature does not verify: %v.", err)
		a.refit(q, format, m)
	}
	a.compare(q.Pasted)
	return a
}

// maxSized bounds the bytes that stand for a body that the capture lacks.
const maxSized = 16 << 20

// A message is a captured request as a verifier gets it.
type message struct {
	*Request
	base *url.URL
}

func newMessage(q Question) message {
	base, err := url.Parse(q.BaseURL)
	if q.BaseURL == "" || err != nil {
		base = &url.URL{Scheme: "https", Host: q.Request.Host}
	}
	return message{q.Request, base}
}

// padded returns the message with zero bytes in place of the missing end of its
// body. The MAC depends on the length of the body, but not on its bytes.
func (m message) padded(missing int) message {
	sized := *m.Request
	sized.Body = append(bytes.Clone(m.Body), make([]byte, min(missing, maxSized))...)
	return message{&sized, m.base}
}

// signatures returns the signatures in a format. It returns none if the headers do
// not parse: the verifier says why.
func (m message) signatures(format string) []msgsig.Signature {
	parse := msgsig.ParseCavage
	if format == formatRFC9421 {
		parse = msgsig.ParseRFC9421
	}
	all, err := parse(m.Header)
	if err != nil {
		return nil
	}
	return all
}

// verify asks the library. The secret counts for each key id of the request.
func (m message) verify(q Question, signatures []msgsig.Signature) error {
	keys := []flyext.Key{{ID: defaultKeyID, Secret: q.Secret}}
	for i := range signatures {
		if id := signatures[i].KeyID; id != "" && id != defaultKeyID {
			keys = append(keys, flyext.Key{ID: id, Secret: q.Secret})
		}
	}
	received := &flyext.Message{Method: m.Method, Target: m.Target, Host: m.Host, Header: m.Header, Body: m.Body, BaseURL: m.base, Now: q.Now}
	_, err := flyext.MessageSignature(keys...).Verify(context.Background(), received)
	return err
}

// A rebuilt signature has its base and the right MAC of it.
type rebuilt struct {
	base     []byte // nil: it cannot be rebuilt
	expected string
	mac      bool // the MAC is right
	digests  bool // the signed digests are those of the body
}

func (r rebuilt) fits() bool { return r.mac && r.digests }

// best returns the signature that fits. If no signature fits, it returns the first
// one whose MAC is right, otherwise the first one that can be rebuilt.
func (m message) best(signatures []msgsig.Signature, secret string) (best rebuilt) {
	for i := range signatures {
		s := signatures[i] // a copy, because AppendBase changes it
		if s.Err != nil {
			continue
		}
		wire := &msgsig.Message{Method: m.Method, Scheme: m.base.Scheme, Host: m.Host, Target: m.Target, Header: m.Header, Body: m.Body}
		base, err := s.AppendBase(nil, wire)
		if err != nil {
			continue
		}
		sum := mac.New(secret).Sum(base)
		r := rebuilt{base, base64.StdEncoding.EncodeToString(sum[:]), s.Value == string(sum[:]), s.CheckDigests(m.Body) == nil}
		if r.fits() {
			return r
		}
		if best.base == nil || r.mac && !best.mac {
			best = r
		}
	}
	return best
}

// recapture looks for the body from which the capture has the body by a change of
// newlines. If there is one, the request is judged with it.
func (a *Answer) recapture(q Question, format string, m message) bool {
	if len(q.Request.Body) == 0 {
		return false
	}
	for _, c := range newlines(q.Request) {
		sent := *m.Request
		sent.Body = c.base
		other := message{&sent, m.base}
		signatures := other.signatures(format)
		got := other.best(signatures, q.Secret)
		if !got.fits() {
			continue
		}
		a.Base, a.Expected, a.Reading = got.base, got.expected, "the body "+c.text
		a.add("The signature fits the body %s%s.", c.text, c.why)
		if err := other.verify(q, signatures); err != nil {
			a.add("The signature does not verify: %v.", err)
		} else if c.by == theCapture {
			a.Verdict = Changed
		}
		return true
	}
	return false
}

// A change is one that a request or a secret may have undergone on its way.
type change struct {
	text    string // after "The signature fits "
	message message
	secret  string
}

// refit looks for the change after which the MAC is right.
func (a *Answer) refit(q Question, format string, m message) {
	for _, c := range changes(q, m) {
		if got := c.message.best(c.message.signatures(format), c.secret); got.mac {
			a.Reading = c.text
			a.add("The signature fits %s.", c.text)
			if !bytes.Equal(got.base, a.Base) {
				a.Signed = got.base
			}
			return
		}
	}
	if a.Base != nil {
		a.add("No known change of the request or the secret makes it fit. Either the secret differs (the one used here has %d bytes), or a signed part of the request was changed on its way.", len(q.Secret))
	}
}

// changes returns the known changes, always in the same order.
func changes(q Question, m message) []change {
	var all []change
	for _, c := range []struct{ text, secret string }{
		{"the secret with a newline at its end. Remove the newline from the sender's secret", q.Secret + "\n"},
		{`the secret with "\r\n" at its end. Remove it from the sender's secret`, q.Secret + "\r\n"},
		{"the secret without the white space around it. Remove the white space here", strings.TrimSpace(q.Secret)},
		{"the secret in double quotes. Remove the quotes from the sender's secret", `"` + q.Secret + `"`},
		{"an empty secret. Give the sender its secret", ""},
	} {
		if c.secret != q.Secret {
			all = append(all, change{c.text, m, c.secret})
		}
	}
	changed := func(text string, edit func(*message)) {
		copied := *m.Request
		other := message{&copied, m.base}
		edit(&other)
		all = append(all, change{text, other, q.Secret})
	}
	if m.base.Host != m.Host {
		changed("the host of the base URL, "+m.base.Host+". A proxy rewrites Host: pass the public host on", func(m *message) { m.Host = m.base.Host })
	}
	other := map[string]string{"http": "https", "https": "http"}[m.base.Scheme]
	if other != "" {
		changed("the scheme "+other+". Give the provider its public base URL", func(m *message) { m.base = &url.URL{Scheme: other, Host: m.base.Host} })
	}
	if mount := strings.TrimRight(m.base.EscapedPath(), "/"); mount != "" {
		changed("the path below "+mount+". A proxy removed the mount point", func(m *message) { m.Target = mount + m.Target })
		if rest, ok := strings.CutPrefix(m.Target, mount+"/"); ok {
			changed("the path without "+mount+". Sign the path as it is in the URL", func(m *message) { m.Target = "/" + rest })
		}
	}
	return all
}
