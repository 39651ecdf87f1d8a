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

// A Fault makes an endpoint of an [OAuthServer] or a [WebhookReceiver] misbehave.
// Install it with [OAuthServer.SetFault] or [WebhookReceiver.SetFault].
//
// A Fault wraps sound, the handler that works correctly. It answers instead of sound,
// or changes the answer of sound. A Fault of the token endpoint that does not call
// sound uses up no code.
type Fault func(sound http.Handler) http.Handler

// SlowAnswer delays the sound answer until release is closed. If release is nil, it
// never answers. If the client disconnects first, it sends no answer and uses up no
// code.
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

// StatusAnswer answers with a status and, in plain text, its name.
func StatusAnswer(status int) Fault {
	return respond(status, "text/plain; charset=utf-8", http.StatusText(status)+"\n")
}

// HTMLAnswer answers 200 with an HTML page, as a proxy or a maintenance page does.
func HTMLAnswer() Fault {
	return respond(http.StatusOK, "text/html; charset=utf-8", "<!doctype html>\n<title>Fly.io</title>\n<p>We will be right back.</p>\n")
}

// JSONAnswer answers with a status, the Content-Type application/json and text, even
// if text is not valid JSON.
func JSONAnswer(status int, text string) Fault {
	return respond(status, "application/json; charset=utf-8", text)
}

// ErrorAnswer answers 400 with an error of RFC 6749, section 5.2, such as
// "invalid_grant".
func ErrorAnswer(code string) Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			writeOAuthError(w, http.StatusBadRequest, code, "simulated error")
		})
	}
}

func respond(status int, contentType, body string) Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body) // fails only if the client has disconnected
		})
	}
}

// RedirectLoop redirects to the endpoint itself with 307. A client that follows
// redirects sends its form, including the client secret, again and again.
func RedirectLoop() Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "?again")
			w.WriteHeader(http.StatusTemporaryRedirect)
		})
	}
}

// WithMember sets a member of the JSON object in the sound answer, including error
// answers. An answer that is not a JSON object stays the same. The value may have the
// wrong type for the member. WithMember panics if value cannot be marshaled to JSON.
func WithMember(name string, value any) Fault {
	text, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("flytest: the value of %q: %v", name, err))
	}
	return changed(func(members map[string]jsontext.Value) { members[name] = text })
}

// WithoutMember removes a member of the JSON object in the sound answer. Fly.io is
// known to omit "token_type".
func WithoutMember(name string) Fault {
	return changed(func(members map[string]jsontext.Value) { delete(members, name) })
}

// ForeignApplication makes the token info endpoint report that the token was issued
// to another application.
func ForeignApplication() Fault {
	return WithMember("application", map[string]string{"uid": "another-application"})
}

// HugeAnswer adds a member to the sound answer that makes it larger than size bytes.
// A client that does not limit the size of answers accepts it.
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
			if jsonv2.Unmarshal(body, &members) == nil { // the authorize endpoint answers without JSON
				change(members)
				body, _ = jsonv2.Marshal(members, jsonv2.Deterministic(true)) // cannot fail: all values are JSON
			}
			w.WriteHeader(kept.status)
			_, _ = w.Write(body)
		})
	}
}

// A keptAnswer buffers the status and the body of an answer.
type keptAnswer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (k *keptAnswer) Header() http.Header         { return k.header }
func (k *keptAnswer) WriteHeader(status int)      { k.status = status }
func (k *keptAnswer) Write(p []byte) (int, error) { return k.body.Write(p) }
