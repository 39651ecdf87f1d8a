// Package unsign removes the signature from a recorded request, so that the request
// can be signed again.
package unsign

import (
	"bytes"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// signatureFields are the header fields that signing sets.
var signatureFields = []string{"Authorization", "Content-Digest", "Date", "Digest", "Signature", "Signature-Input", "X-Signature"}

// connectionFields belong to the connection and not to the request (RFC 9110, section
// 7.6.1). The new connection has its own.
var connectionFields = []string{
	"Connection", "Content-Length", "Host", "Keep-Alive", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// Header returns the header fields of a request without those of its signature and its
// connection.
func Header(h http.Header) http.Header {
	kept := h.Clone()
	named := strings.Split(strings.Join(h.Values("Connection"), ","), ",")
	for _, name := range slices.Concat(signatureFields, connectionFields, named) {
		kept.Del(strings.TrimSpace(name))
	}
	return kept
}

// parameters are the names that X-Signature adds to a query or to a body. In the other
// formats these names are the provider's.
var parameters = []string{"timestamp", "nonce", "url"}

// Query returns a query without the parameters of X-Signature. The other parameters
// stay byte for byte.
func Query(query string) string {
	kept := slices.DeleteFunc(strings.Split(query, "&"), func(pair string) bool {
		name, _, _ := strings.Cut(pair, "=")
		decoded, err := url.QueryUnescape(name)
		return pair == "" || err == nil && slices.Contains(parameters, decoded)
	})
	return strings.Join(kept, "&")
}

// Body returns a JSON object without the parameters of X-Signature. The other members
// stay byte for byte. Any other text stays unchanged.
func Body(body []byte) []byte {
	dec := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if dec.PeekKind() != '{' {
		return body
	}
	_, err := dec.ReadToken()
	var members [][]byte
	for err == nil && dec.PeekKind() == '"' {
		var name, value jsontext.Value
		if name, err = dec.ReadValue(); err != nil {
			break
		}
		name = slices.Clone(name) // the next read overwrites it
		if value, err = dec.ReadValue(); err != nil {
			break
		}
		if !isParameter(name) {
			members = append(members, slices.Concat(name, []byte(":"), value))
		}
	}
	if err == nil {
		_, err = dec.ReadToken()
	}
	if err != nil {
		return body
	}
	return slices.Concat([]byte("{"), bytes.Join(members, []byte(",")), []byte("}"))
}

func isParameter(quoted jsontext.Value) bool {
	name, err := jsontext.AppendUnquote(nil, quoted)
	return err == nil && slices.Contains(parameters, string(name))
}
