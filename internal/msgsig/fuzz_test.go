package msgsig

import (
	"bytes"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// recorded returns the headers of the recorded requests.
func recorded(f *testing.F) (all []http.Header) {
	f.Helper()
	files, err := filepath.Glob("../../testdata/interop/*.json")
	if err != nil || len(files) == 0 {
		f.Fatalf("no interop cases: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var cases []struct{ Request struct{ Headers [][2]string } }
		if err := json.Unmarshal(text, &cases); err != nil {
			f.Fatal(err)
		}
		for _, c := range cases[:min(len(cases), 20)] {
			h := http.Header{}
			for _, field := range c.Request.Headers {
				h.Add(field[0], field[1])
			}
			all = append(all, h)
		}
	}
	return all
}

// aMessage returns a request with the given value in many fields, even a value that
// net/http would not deliver.
func aMessage(target, value string) *Message {
	return &Message{
		Method: "POST", Scheme: "https", Host: "logjam.test", Target: target, Body: []byte("{}"),
		Header: http.Header{
			"Date": {"Thu, 01 Jun 2023 17:39:19 GMT"}, "Content-Length": {"2"}, "X-A": {value, value},
			"Digest": {value}, "Content-Digest": {value}, "Content-Type": {value}, "Authorization": {value},
		},
	}
}

// checkBase checks that a base has one line per component. Nothing in a request can
// add a line.
func checkBase(t *testing.T, s *Signature, m *Message, lines int) {
	t.Helper()
	for _, draft := range []bool{false, true} {
		m.DraftQueryParams = draft
		base, err := s.AppendBase(nil, m)
		if err != nil {
			continue
		}
		if n := bytes.Count(base, []byte("\n")) + 1; n != lines {
			t.Fatalf("%d components but %d lines: %q", len(s.components), n, base)
		}
		if bytes.ContainsAny(base, "\r\x00") {
			t.Fatalf("control characters: %q", base)
		}
		if s.CheckDigests(m.Body) == nil && s.Covered.Digest != (len(s.digests) > 0) {
			t.Fatal("a covered digest is not checked")
		}
	}
}

func FuzzParseCavage(f *testing.F) {
	for _, h := range recorded(f) {
		f.Add(h.Get("Signature"), h.Get("Authorization"), "/a?b=c", h.Get("Digest"))
	}
	f.Add("keyId=\"k\nhost: other.test\",headers=\"(keyid)\",signature=\"AAAA\"", "", "/a", "v")
	f.Add(`headers="(keyid) (algorithm)",keyId="k",algorithm="hs2019",signature="AAAA"`, "", "/a", "v")
	f.Fuzz(func(t *testing.T, signature, authorization, target, value string) {
		signatures, err := ParseCavage(http.Header{"Signature": {signature}, "Authorization": {authorization}})
		if err != nil {
			return
		}
		s := &signatures[0]
		if len(s.Value) == 0 || len(s.components) == 0 {
			t.Fatalf("an empty signature: %+v", s)
		}
		checkBase(t, s, aMessage(target, value), len(s.components))
	})
}

func FuzzParseRFC9421(f *testing.F) {
	for _, h := range recorded(f) {
		f.Add(h.Get("Signature-Input"), h.Get("Signature"), "/a?b=c", h.Get("Content-Digest"))
	}
	f.Add(`s=("@query-params";name="b" "@query-param";name="b" "x-a";bs "content-digest";key="sha-256")`, "s=:AAAA:", "/?b=c", "sha-256=:AAAA:")
	f.Fuzz(func(t *testing.T, input, signature, target, value string) {
		signatures, err := ParseRFC9421(http.Header{"Signature-Input": {input}, "Signature": {signature}})
		if err != nil {
			return
		}
		for i := range signatures {
			s := &signatures[i]
			if !strings.Contains(input, s.params) {
				t.Fatalf("the parameters %q are not in %q", s.params, input)
			}
			checkBase(t, s, aMessage(target, value), len(s.components)+1)
		}
	})
}

func FuzzParseZntrio(f *testing.F) {
	for _, h := range recorded(f) {
		f.Add(h.Get("Signature-Input"), h.Get("Signature"), "/a%2Fb?c", h.Get("Digest"))
	}
	f.Add(`s=(@request-target); keyid="k"`, "s=:AAAA:", "/a\nhost: other.test", "v")
	f.Fuzz(func(t *testing.T, input, signature, target, value string) {
		signatures, err := ParseZntrio(http.Header{"Signature-Input": {input}, "Signature": {signature}})
		if err != nil {
			return
		}
		s := &signatures[0]
		checkBase(t, s, aMessage(target, value), len(s.components)+2)
	})
}

// FuzzDigest checks that a covered digest matches at most one of several bodies.
func FuzzDigest(f *testing.F) {
	for _, h := range recorded(f) {
		f.Add(h.Get("Digest"), h.Get("Content-Digest"), "sha-256")
	}
	message := func(digest, contentDigest string) *Message {
		return &Message{Header: http.Header{"Digest": {digest}, "Content-Digest": {contentDigest}}}
	}
	f.Fuzz(func(t *testing.T, digest, contentDigest, member string) {
		bodies := [][]byte{nil, []byte("{}"), []byte("another")}
		for _, cover := range []func(*Signature) error{
			func(s *Signature) error { return s.cover((message(digest, contentDigest)).wantDigests(), "") },
			func(s *Signature) error { return s.cover((message(digest, contentDigest)).contentDigests(), member) },
			func(s *Signature) error { return s.cover((message(digest, contentDigest)).contentDigests(), "") },
		} {
			s := &Signature{}
			err := cover(s)
			right := 0
			for _, body := range bodies {
				if s.CheckDigests(body) == nil {
					right++
				}
			}
			if s.Covered.Digest != (err == nil) || err == nil && right > 1 {
				t.Fatalf("%q %q: %d bodies match this digest, covered %v, %v", digest, contentDigest, right, s.Covered.Digest, err)
			}
		}
	})
}
