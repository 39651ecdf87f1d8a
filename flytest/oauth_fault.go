package flytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// A Fault is a way for an endpoint of an [OAuthServer], or for a
// [WebhookReceiver], to go wrong: it answers instead of the sound endpoint, or
// with what that answers. See [OAuthServer.SetFault] and
// [WebhookReceiver.SetFault]. Where the sound token endpoint is not asked, no code
// is used up.
type Fault func(sound http.Handler) http.Handler

// SlowAnswer answers soundly once release is closed, and never if it is nil. If
// the client leaves before, it answers nothing, and no code is used up.
func SlowAnswer(release <-chan struct{}) Fault {
	return func(sound http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-release:
				sound.ServeHTTP(w, r)
			case <-r.Context().Done():
				panic(http.ErrAbortHandler)
			}
		})
	}
}

// StatusAnswer answers with a status and its name, in plain text.
func StatusAnswer(status int) Fault {
	return respond(status, "text/plain; charset=utf-8", http.StatusText(status)+"\n")
}

// HTMLAnswer answers 200 with a page, as a proxy or a maintenance screen does.
func HTMLAnswer() Fault {
	return respond(http.StatusOK, "text/html; charset=utf-8", "<!doctype html>\n<title>Fly.io</title>\n<p>We will be right back.</p>\n")
}

// JSONAnswer answers with a text that is said to be JSON, be it or not.
func JSONAnswer(status int, text string) Fault {
	return respond(status, "application/json; charset=utf-8", text)
}

// ErrorAnswer answers 400 with an error of RFC 6749, section 5.2, such as
// "invalid_grant".
func ErrorAnswer(code string) Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			writeOAuthError(w, http.StatusBadRequest, code, "this error was asked for")
		})
	}
}

func respond(status int, contentType, body string) Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body) // whoever left before the answer cannot be told so
		})
	}
}

// RedirectLoop redirects to the endpoint itself, by 307, so that a client that
// follows sends its form, and the secret in it, again and again.
func RedirectLoop() Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "?again")
			w.WriteHeader(http.StatusTemporaryRedirect)
		})
	}
}

// WithMember changes a member of the sound answer's JSON object, or adds it.
// The value is marshalled, and may be of a type that it must not be. Errors are
// objects too, and change as well.
func WithMember(name string, value any) Fault {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("flytest: the value of %q: %v", name, err))
	}
	return changed(func(members map[string]jsontext.Value) { members[name] = text })
}

// WithoutMember leaves a member of the sound answer's JSON object out, as
// Fly.io is known to do with "token_type".
func WithoutMember(name string) Fault {
	return changed(func(members map[string]jsontext.Value) { delete(members, name) })
}

// ForeignApplication makes the token info endpoint say that the token was issued
// to another application.
func ForeignApplication() Fault {
	return WithMember("application", map[string]string{"uid": "another-application"})
}

// HugeAnswer answers soundly but for one member more, which makes the answer
// larger than size bytes: a client that bounds nothing would be content.
func HugeAnswer(size int) Fault {
	return func(sound http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			WithMember("padding", string(bytes.Repeat([]byte("x"), size)))(sound).ServeHTTP(w, r)
		})
	}
}

func changed(change func(members map[string]jsontext.Value)) Fault {
	return func(sound http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			kept := &keptAnswer{header: w.Header(), status: http.StatusOK}
			sound.ServeHTTP(kept, r)
			body := kept.body.Bytes()
			var members map[string]jsontext.Value
			if jsonv2.Unmarshal(body, &members) == nil { // the authorize endpoint has no object to change
				change(members)
				body, _ = jsonv2.Marshal(members, jsonv2.Deterministic(true)) // of values that are JSON
			}
			w.WriteHeader(kept.status)
			_, _ = w.Write(body)
		})
	}
}

// A keptAnswer is not on its way yet.
type keptAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (k *keptAnswer) Header() http.Header         { return k.header }
func (k *keptAnswer) WriteHeader(status int)      { k.status = status }
func (k *keptAnswer) Write(p []byte) (int, error) { return k.body.Write(p) }
