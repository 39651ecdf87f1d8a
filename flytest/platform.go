// Package flytest simulates Fly.io for tests of a provider. It signs requests in all
// formats of the protocol and sends them to a provider in any language.
//
// The test of a Go provider takes five lines. The client of an [httptest.Server]
// sends requests for example.com to that server, so the provider can be configured
// with a base URL before the server runs:
//
//	server := httptest.NewTLSServer(provider) // flyext.Config.BaseURL: "https://example.com/flyio"
//	fly := flytest.Platform{BaseURL: "https://example.com/flyio", Signer: flytest.XSignature(secret), Client: server.Client()}
//	got, err := fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "30bqn49y2jh", OrganizationID: "M03FclA4m"})
//	if err != nil || got.Secrets["LOGJAM_URL"] == "" {
//		t.Errorf("got %v, %v", got, err)
//	}
//
// These types simulate the parts of Fly.io:
//
//   - [Platform] provisions, updates and removes extensions and sends events.
//   - [OAuthServer] is the sign-on, for tests of the provider's single sign-on.
//   - [Browser] is the customer's browser.
//   - [WebhookReceiver] receives the provider's webhooks.
//
// [Conformance] uses them to check a provider against each requirement of the
// protocol.
//
// The signatures share no code with the verification in package flyext, so a mistake
// in one is not repeated in the other. github.com/common-fate/httpsig makes the
// signatures of RFC 9421 and its draft; this package makes the others.
package flytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/flyext/flyext"
)

// A Platform simulates Fly.io for one provider: it signs requests and sends them.
// BaseURL and Signer are required; if one is missing, the methods that need it return
// an error. A Platform is safe for concurrent use if its fields do not change and
// Observe is safe for concurrent use.
type Platform struct {
	// BaseURL is the provider's base URL, such as "https://logjam.io/flyio".
	// Requests are sent to it and signed for it.
	BaseURL string

	// Signer signs each request.
	Signer Signer

	// Client sends the requests; nil means [http.DefaultClient], whose only
	// timeout is the context. A redirect is returned as the answer and not
	// followed, because a signature is valid for one URL only.
	Client *http.Client

	// Now is the clock for signatures; nil means [time.Now]. Shift it to sign
	// requests that are stale or from the future.
	Now func() time.Time

	// Registration is Fly.io's record of the provider. It determines the output
	// of [Platform.Create], and whether Create waits.
	Registration Registration

	// Sleep waits for d between two polls. If ctx ends first, it returns the
	// error of ctx. nil means to wait in real time. Replace it in tests to skip
	// the wait of up to four minutes.
	Sleep func(ctx context.Context, d time.Duration) error

	// Observe, if not nil, is called with each answered request before the method
	// that sent it returns. OpenDashboard does not call it.
	Observe func(Exchange)
}

// An Exchange is a request as it was sent, and its answer. Both may contain
// secrets. The Body fields of Request and Response have already been read; use
// RequestBody and ResponseBody.
type Exchange struct {
	Request      *http.Request
	RequestBody  []byte
	Response     *http.Response
	ResponseBody []byte
	// SignatureBase holds the signed bytes; see the function [SignatureBase].
	SignatureBase string
	// Duration is the time from sending the request to the end of the answer.
	Duration time.Duration
}

// Provision creates an extension: POST {base}/extensions. Empty fields of req are
// not sent, except ID, OrganizationID, Name and a ReadRegions that is not nil.
//
// The answer may have the shape of either generation. An object with a member "id",
// "config" or "status" is read as that of generation 2, any other as the flat object
// of secrets of generation 1. Pass the ID of the returned extension to later calls:
// it is the id in the answer or, in generation 1, req.ID.
//
// Provision returns an answer with a status other than 2xx as a *[flyext.Error]. It
// also returns an error if flyctl could not use the answer, for example because a
// secret is not a JSON string.
func (p *Platform) Provision(ctx context.Context, req flyext.ProvisionRequest) (*flyext.Extension, error) {
	body, err := encodeProvision(req)
	if err != nil {
		return nil, err
	}
	answer, err := p.call(ctx, http.MethodPost, "/extensions", body)
	if err != nil {
		return nil, err
	}
	x, err := decodeExtension(answer, req.ID)
	if err != nil {
		return nil, err
	}
	if x.Secrets == nil {
		return nil, errors.New(`flytest: the answer has no "config"; send the secrets in it, because Fly.io does not ask for them again`)
	}
	return x, nil
}

// Update changes an extension: PATCH {base}/extensions/{id}. Only the fields of req
// with Present are sent, including those that are null or empty. The answer and
// the errors are those of [Platform.Provision], but the answer may lack secrets.
func (p *Platform) Update(ctx context.Context, id string, req flyext.UpdateRequest) (*flyext.Extension, error) {
	body, err := encodeUpdate(req)
	if err != nil {
		return nil, err
	}
	return p.callExtension(ctx, http.MethodPatch, id, body)
}

// Fetch returns the current state of an extension: GET {base}/extensions/{id}. The
// answer and the errors are those of [Platform.Provision], but the answer may lack
// secrets.
func (p *Platform) Fetch(ctx context.Context, id string) (*flyext.Extension, error) {
	return p.callExtension(ctx, http.MethodGet, id, nil)
}

// Deprovision removes an extension: DELETE {base}/extensions/{id}. Any answer with
// a status of 2xx is a success. Any other answer is returned as a *[flyext.Error].
func (p *Platform) Deprovision(ctx context.Context, id string) error {
	if id == "" {
		return errNoID
	}
	_, err := p.call(ctx, http.MethodDelete, ExtensionPath(id), nil)
	return err
}

var errNoID = errors.New("flytest: the extension id is empty")

func (p *Platform) callExtension(ctx context.Context, method, id string, body []byte) (*flyext.Extension, error) {
	if id == "" {
		return nil, errNoID
	}
	answer, err := p.call(ctx, method, ExtensionPath(id), body)
	if err != nil {
		return nil, err
	}
	return decodeExtension(answer, id)
}

func (p *Platform) call(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	r, err := p.NewRequest(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	e, err := p.exchange(r)
	if err != nil {
		return nil, err
	}
	if e.Response.StatusCode/100 != 2 {
		return nil, decodeError(e.Response.StatusCode, e.ResponseBody)
	}
	return e.ResponseBody, nil
}

// ExtensionPath returns the path of an extension for [Platform.NewRequest]:
// "/extensions/" and the id, escaped as one path element.
func ExtensionPath(id string) string {
	escaped := url.PathEscape(id)
	if id == "." || id == ".." { // clients and servers resolve these in a path
		escaped = strings.ReplaceAll(id, ".", "%2E")
	}
	return "/extensions/" + escaped
}

// NewRequest returns a signed request without sending it. A test can change the
// request, for example with [SetBody], before it calls [Platform.Do].
//
// path is relative to BaseURL, begins with a slash, must already be escaped, and may
// have a query. body may be nil. A body gets the Content-Type application/json.
func (p *Platform) NewRequest(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	base, err := p.base()
	if err != nil {
		return nil, err
	}
	if p.Signer == nil {
		return nil, errors.New("flytest: Platform.Signer is missing")
	}
	if !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("flytest: path %q must begin with a slash", path)
	}
	r, err := http.NewRequestWithContext(ctx, method, base+path, nil)
	if err != nil {
		return nil, fmt.Errorf("flytest: %w", err)
	}
	r.Header.Set("User-Agent", "flytest")
	r.Header.Set("Accept", "application/json")
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	SetBody(r, body)
	now := time.Now
	if p.Now != nil {
		now = p.Now
	}
	if err := p.Signer.Sign(r, now()); err != nil {
		return nil, err
	}
	return r, nil
}

// base returns the base URL in the form that signatures cover: with the host in
// lower case and without the scheme's default port (RFC 9421, section 2.2.3).
func (p *Platform) base() (string, error) {
	u, err := url.Parse(p.BaseURL)
	if err != nil {
		return "", fmt.Errorf("flytest: Platform.BaseURL: %w", err)
	}
	if u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
		return "", fmt.Errorf("flytest: Platform.BaseURL %q must be an absolute http or https URL", p.BaseURL)
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return "", errors.New("flytest: Platform.BaseURL must not have a user, a query or a fragment")
	}
	port := ":443"
	if u.Scheme == "http" {
		port = ":80"
	}
	host := strings.TrimSuffix(strings.ToLower(u.Host), port)
	return u.Scheme + "://" + host + strings.TrimRight(u.EscapedPath(), "/"), nil
}

// Do sends a request as it is, without signing it. Do leaves the body readable, so
// pass the request to Do again to replay it. A body needs a GetBody; see [SetBody].
// The answer's body is in memory and need not be closed. An answer with any status is
// a success. Do returns an error if there is no answer, or if the answer is larger
// than 1 MiB.
func (p *Platform) Do(r *http.Request) (*http.Response, error) {
	e, err := p.exchange(r)
	if err != nil {
		return nil, err
	}
	e.Response.Body = io.NopCloser(bytes.NewReader(e.ResponseBody))
	return e.Response, nil
}

// maxAnswer is the largest answer in bytes.
const maxAnswer = 1 << 20

func (p *Platform) exchange(r *http.Request) (Exchange, error) {
	body, err := bodyOf(r)
	if err != nil {
		return Exchange{}, err
	}
	e := Exchange{Request: r.Clone(r.Context()), RequestBody: body, SignatureBase: SignatureBase(r)}
	SetBody(e.Request, body)

	client := http.Client{}
	if p.Client != nil {
		client = *p.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	start := time.Now()
	if e.Response, err = client.Do(e.Request); err != nil {
		return Exchange{}, fmt.Errorf("flytest: %w", err)
	}
	defer e.Response.Body.Close()
	e.ResponseBody, err = io.ReadAll(io.LimitReader(e.Response.Body, maxAnswer+1))
	if err != nil {
		return Exchange{}, fmt.Errorf("flytest: reading the answer: %w", err)
	}
	e.Duration = time.Since(start)
	if len(e.ResponseBody) > maxAnswer {
		return Exchange{}, fmt.Errorf("flytest: the answer is larger than %d bytes", maxAnswer)
	}
	if p.Observe != nil {
		p.Observe(e)
	}
	return e, nil
}

// SetBody sets the Body, GetBody and ContentLength of a request. It does not sign
// the request. Use it in a [Signer], or to change the body of a signed request.
func SetBody(r *http.Request, body []byte) {
	r.ContentLength = int64(len(body))
	r.GetBody = func() (io.ReadCloser, error) {
		if len(body) == 0 {
			return http.NoBody, nil
		}
		return io.NopCloser(bytes.NewReader(body)), nil
	}
	r.Body, _ = r.GetBody()
}

// bodyOf returns the body of a request and leaves it readable.
func bodyOf(r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.GetBody == nil {
		return nil, errors.New("flytest: the request's body has no GetBody; set it with SetBody")
	}
	copied, err := r.GetBody()
	if err != nil {
		return nil, fmt.Errorf("flytest: the request's body: %w", err)
	}
	defer copied.Close()
	return io.ReadAll(copied)
}
