// Package readings lists the mistakes that providers make when they compute an
// X-Signature. flytest sends a request signed with each mistake to identify a
// provider's mistake. flysim explain compares a captured signature with them.
package readings

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"hash"
	"strings"
)

// A Request is the input of an X-Signature.
type Request struct {
	// Content is the signed text: the raw body, or the raw query of a GET, HEAD or
	// DELETE.
	Content []byte
	// URL is the URL of the request, without the parameters of the signature.
	URL string
	// Timestamp is the signed timestamp, as text.
	Timestamp string
	Secret    string
}

// A Reading is a mistake and the signature that results from it.
type Reading struct {
	// ID is a stable identifier, such as "json-dumps".
	ID string
	// Text describes the mistake as a continuation of "Your provider".
	Text string
	// Fix says how to correct the mistake.
	Fix string
	// Base is the input of the MAC.
	Base []byte
	// Signature is the value of the X-Signature header.
	Signature string
}

const (
	signRaw     = "Sign the raw bytes of the body or query, as they are before any parser reads them."
	compareHex  = "Compare the lower-case hex digits of the HMAC, in constant time."
	checkSecret = "Use the secret unchanged, byte for byte, and refuse to start without one."
)

// Right returns the correct signature: the HMAC-SHA256 of the content in lower-case
// hex.
func Right(r Request) string { return hex.EncodeToString(mac(sha256.New, r.Secret, r.Content)) }

// All returns the mistakes whose signature differs from the correct one.
func All(r Request) []Reading {
	all := append(overOtherBytes(r), otherwiseWritten(r)...)
	all = append(all, underOtherSecrets(r)...)
	right := Right(r)
	different := all[:0]
	for _, reading := range all {
		if reading.Signature != right {
			different = append(different, reading)
		}
	}
	return different
}

// overOtherBytes returns MACs of something other than the raw content.
func overOtherBytes(r Request) []Reading {
	var all []Reading
	add := func(id, text, fix string, base []byte) {
		all = append(all, Reading{id, text, fix, base, hex.EncodeToString(mac(sha256.New, r.Secret, base))})
	}
	for _, style := range styles {
		if base, err := rewrite(r.Content, style); err == nil {
			add(style.id, "verifies re-serialized JSON, as "+style.name+" writes it", signRaw, base)
		}
	}
	content := string(r.Content)
	add("url", "signs the URL, not the body", "Sign the body of POST and PATCH, and the query of GET and DELETE.", []byte(r.URL))
	add("body-and-url", "signs the body followed by the URL", "Sign the body alone: the URL is one of its members.", []byte(content+r.URL))
	add("url-and-body", "signs the URL followed by the body", "Sign the body alone: the URL is one of its members.", []byte(r.URL+content))
	if r.Timestamp != "" {
		add("timestamp-and-body", `signs the timestamp, "." and the body, as Stripe does`, "Sign the body alone: the timestamp is one of its members.", []byte(r.Timestamp+"."+content))
	}
	add("body-newline", "signs the body with a newline at its end", signRaw, []byte(content+"\n"))
	add("nothing", "signs an empty body, because other code has already read it", "Store the raw body when it is first read, and sign that.", nil)
	return all
}

// otherwiseWritten returns the correct MAC in other encodings, and other hashes.
func otherwiseWritten(r Request) []Reading {
	sum := mac(sha256.New, r.Secret, r.Content)
	digits := hex.EncodeToString(sum)
	plain := sha256.Sum256([]byte(r.Secret + string(r.Content)))
	return []Reading{
		{"upper-case", "compares upper-case hex digits", compareHex, r.Content, strings.ToUpper(digits)},
		{"prefix", `expects "sha256=" before the signature`, "Compare the hex digits alone: X-Signature has no prefix.", r.Content, "sha256=" + digits},
		{"base64", "expects the signature in base64", compareHex, r.Content, base64.StdEncoding.EncodeToString(sum)},
		{"base64url", "expects the signature in base64url", compareHex, r.Content, base64.RawURLEncoding.EncodeToString(sum)},
		{"plain-hash", "hashes the secret and the body with SHA-256", "Use HMAC-SHA256 with the secret as its key.", r.Content, hex.EncodeToString(plain[:])},
		{"sha1", "uses HMAC-SHA1", "Use HMAC-SHA256.", r.Content, hex.EncodeToString(mac(sha1.New, r.Secret, r.Content))},
		{"sha512", "uses HMAC-SHA512", "Use HMAC-SHA256.", r.Content, hex.EncodeToString(mac(sha512.New, r.Secret, r.Content))},
	}
}

// underOtherSecrets returns MACs with secrets that were altered during
// configuration.
func underOtherSecrets(r Request) []Reading {
	var all []Reading
	add := func(id, text, secret string) {
		all = append(all, Reading{id, text, checkSecret, r.Content, hex.EncodeToString(mac(sha256.New, secret, r.Content))})
	}
	add("empty-secret", "has an empty secret", "")
	add("newline", "has a newline at the end of the secret", r.Secret+"\n")
	add("carriage-return", `has "\r\n" at the end of the secret`, r.Secret+"\r\n")
	add("trimmed", "removes white space around the secret", strings.TrimSpace(r.Secret))
	add("quoted", "has the secret in double quotes", `"`+r.Secret+`"`)
	add("single-quoted", "has the secret in single quotes", "'"+r.Secret+"'")
	if key, err := hex.DecodeString(r.Secret); err == nil {
		add("hex-secret", "decodes the secret as hex", string(key))
	}
	if key, err := base64.StdEncoding.DecodeString(r.Secret); err == nil {
		add("base64-secret", "decodes the secret as base64", string(key))
	}
	return all
}

func mac(of func() hash.Hash, secret string, base []byte) []byte {
	h := hmac.New(of, []byte(secret))
	h.Write(base)
	return h.Sum(nil)
}
