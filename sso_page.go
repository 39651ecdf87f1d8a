package flyext

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// A signOnAnswer is the response to a failed handshake.
type signOnAnswer struct {
	status  int
	heading string
	message string
	retry   bool // a new attempt can help
}

var signOnAnswers = map[string]signOnAnswer{
	CodeInvalidState:     {http.StatusBadRequest, "This sign-in did not begin here", "Start again from flyctl.", false},
	CodeExpiredState:     {http.StatusBadRequest, "This sign-in took too long", "It has to end within ten minutes. Start again.", true},
	CodeUnknownHandshake: {http.StatusForbidden, "This sign-in is over", "It was already used, or it began in another browser. Start again, and allow cookies for this site.", true},
	CodeMissingCode:      {http.StatusBadRequest, "Fly.io sent no code", "Fly.io sent you back without a code. Start again.", true},
	CodeAccessDenied:     {http.StatusForbidden, "The sign-in was cancelled", "You cancelled the sign-in, or Fly.io did not allow it.", true},
	CodeInvalidGrant:     {http.StatusForbidden, "Fly.io did not confirm this sign-in", "Start again.", true},
	CodeForeignToken:     {http.StatusForbidden, "This sign-in is for another application", "Fly.io confirmed it for another application. Start again from flyctl.", false},
	CodeNotAMember:       {http.StatusForbidden, "You are not a member of the organization", "This belongs to another Fly.io organization. Sign in to Fly.io as one of its members, then start again.", true},
	CodeRoleNotAccepted:  {http.StatusForbidden, "Your role does not let you in", "Ask an admin of this Fly.io organization for another role.", false},
	CodeFlyUnavailable:   {http.StatusBadGateway, "Fly.io did not answer correctly", "Wait a moment and start again.", true},
	CodeFlyTimeout:       {http.StatusGatewayTimeout, "Fly.io did not answer in time", "Wait a moment and start again.", true},
	CodeNotFound:         {http.StatusNotFound, "There is nothing here", "", false},
	CodeTimeout:          {http.StatusGatewayTimeout, "This took too long", "", true},
	CodeUnsupported:      {http.StatusNotImplemented, "This is not offered", "", false},
}

func signOnError(code string, cause error) *Error {
	r := signOnAnswers[code]
	return &Error{Status: r.status, Code: code, Message: r.message, Err: cause}
}

// flyError returns the response to a failure of Fly.io or of the network.
func flyError(cause error) error {
	if e, ok := errors.AsType[net.Error](cause); ok && e.Timeout() || errors.Is(cause, context.DeadlineExceeded) {
		return signOnError(CodeFlyTimeout, cause)
	}
	return signOnError(CodeFlyUnavailable, cause)
}

// authorizeError returns the response to an error in the callback's query (RFC 6749,
// section 4.1.2.1). The page must not show its description, which an attacker could
// have written.
func authorizeError(code string) error {
	if code == "access_denied" {
		return signOnError(CodeAccessDenied, nil)
	}
	return signOnError(CodeFlyUnavailable, fmt.Errorf("authorize endpoint: error %q", knownError(code)))
}

// knownError returns an error code of RFC 6749 (sections 4.1.2.1 and 5.2), and
// "unknown" for any other text, which must not reach the log.
func knownError(code string) string {
	if slices.Contains([]string{
		"invalid_request", "unauthorized_client", "access_denied", "unsupported_response_type", "invalid_scope",
		"server_error", "temporarily_unavailable", "invalid_client", "invalid_grant", "unsupported_grant_type",
	}, code) {
		return code
	}
	return "unknown"
}

// serve runs one half of the handshake and responds to its error or panic.
func (s *SignOn) serve(w http.ResponseWriter, r *http.Request, rec *record, half func(*statusWriter, *http.Request) error) {
	ctx, id := r.Context(), RequestID(r.Context())
	if id == "" { // not called by a Provider
		ctx, id = withRequestID(ctx, w.Header())
		r = r.WithContext(ctx)
	}
	rec.RequestID, rec.Method = id, r.Method
	setPageHeaders(w.Header())
	answer := &statusWriter{ResponseWriter: w}
	err := catch(func() error {
		if r.Method != http.MethodGet {
			rec.Method = "" // unauthenticated text must not reach the log
			w.Header().Set("Allow", http.MethodGet)
			return newError(http.StatusMethodNotAllowed, CodeMethodNotAllowed, "This method is not allowed here.")
		}
		return half(answer, r)
	})
	if err == nil {
		return
	}
	if answer.status != 0 {
		rec.fail("", err)
		rec.write(ctx, slog.LevelError, "response aborted", slog.String("error", cause(err)))
		panic(http.ErrAbortHandler)
	}
	if errors.Is(ctx.Err(), context.Canceled) { // not a failure of Fly.io
		rec.write(ctx, slog.LevelInfo, "request abandoned", slog.String("error", cause(err)))
		// The browser may still wait for a response, if this service is shutting down.
		rec.fail(CodeFlyUnavailable, err)
		s.refusePage(answer, r, rec, signOnError(CodeFlyUnavailable, nil))
		return
	}
	e := rec.report(ctx, err)
	s.refusePage(answer, r, rec, &e)
}

// redirect redirects to an unchanged URL. http.Redirect would resolve a relative URL
// against r.URL, whose path a router may have changed.
func redirect(w http.ResponseWriter, location string) error {
	if _, err := url.Parse(location); err != nil {
		return errors.New("flyext: SSOConfig.SignedIn returned a malformed URL")
	}
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusFound)
	return nil
}

// refusePage writes an error, for a person or a program.
func (s *SignOn) refusePage(w http.ResponseWriter, r *http.Request, rec *record, e *Error) {
	w.Header().Add("Vary", "Accept")
	if prefersJSON(r.Header.Values("Accept")) {
		writeError(w, e)
		return
	}
	if s.sso.Refused != nil {
		s.sso.Refused(w, r, e)
		return
	}
	answer, known := signOnAnswers[e.Code]
	if !known {
		answer.heading = "You are not signed in"
	}
	page := map[string]any{
		"Style": template.CSS(pageStyle), "Heading": answer.heading, "Message": e.Message, "Code": e.Code,
		"RequestID": rec.RequestID, "Command": s.sso.StartAgain,
	}
	if answer.retry && rec.ExtensionID != "" && s.base != nil {
		page["Retry"] = s.base.EscapedPath() + routeExtensions + "/" + url.PathEscape(rec.ExtensionID) + "/sso"
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(e.Status)
	_ = refusalPage.Execute(w, page) // an error means that the browser has disconnected
}

// These bounds of an unauthenticated Accept field are above the needs of any browser.
const (
	maxAccept      = 1024 // bytes
	maxAcceptParts = 16
)

// prefersJSON reports whether Accept names JSON with at least the weight of HTML (RFC
// 9110, section 12.5.1). Browsers and curl get HTML.
func prefersJSON(accept []string) bool {
	text := strings.Join(accept[:min(len(accept), maxAcceptParts)], ",")
	text = text[:min(len(text), maxAccept)]
	weight := map[string]float64{}
	for _, part := range strings.SplitN(text, ",", maxAcceptParts) {
		name, params, _ := strings.Cut(part, ";")
		q := 1.0
		for param := range strings.SplitSeq(params, ";") {
			value, ok := strings.CutPrefix(strings.TrimSpace(param), "q=")
			if parsed, err := strconv.ParseFloat(value, 64); ok && err == nil {
				q = parsed
			}
		}
		weight[strings.ToLower(strings.TrimSpace(name))] = q
	}
	q := weight["application/json"]
	return q > 0 && q >= weight["text/html"]
}

const pageStyle = `
:root { color-scheme: light dark; }
body { margin: 0; padding: 12vh 1.5rem; background: Canvas; color: CanvasText; font: 1.0625rem/1.5 system-ui, sans-serif; }
main { max-width: 34rem; margin: 0 auto; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .75rem; }
p { margin: 0 0 1rem; overflow-wrap: anywhere; }
small { opacity: .8; }
`

// pagePolicy allows only the page's own style sheet, by its hash.
var pagePolicy = func() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

var refusalPage = template.Must(template.New("refusal").Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Not signed in</title>
<style>{{.Style}}</style>
</head>
<body>
<main>
<h1>{{.Heading}}</h1>
<p>{{.Message}}</p>
{{with .Retry}}<p><a href="{{.}}">Try again</a></p>{{end}}
{{with .Command}}<p>Or start again in a terminal: <code>{{.}}</code></p>{{end}}
<p><small>Error <code>{{.Code}}</code>, request <code>{{.RequestID}}</code></small></p>
</main>
</body>
</html>
`))

// setPageHeaders keeps the response out of caches, its URL with the code out of Referer,
// and foreign content out of its pages.
func setPageHeaders(h http.Header) {
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("X-Content-Type-Options", "nosniff")
}
