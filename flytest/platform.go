// Package flytest is Fly.io for the tests of a provider, as net/http/httptest
// is a server for the tests of a client. It signs requests in every format that
// a provider meets and sends them, to a provider in any language.
//
// A provider's own test takes five lines. The client of an [httptest.Server]
// brings requests for example.com to that server, so that the provider under
// test can have the base URL of its configuration:
//
//	server := httptest.NewTLSServer(provider) // flyext.Config.BaseURL: "https://example.com/flyio"
//	fly := flytest.Platform{BaseURL: "https://example.com/flyio", Signer: flytest.XSignature(secret), Client: server.Client()}
//	got, err := fly.Provision(t.Context(), flyext.ProvisionRequest{ID: "30bqn49y2jh", OrganizationID: "M03FclA4m"})
//	if err != nil || got.Secrets["LOGJAM_URL"] == "" {
//		t.Errorf("got %v, %v", got, err)
//	}
//
// [Platform] provisions and sends events. [OAuthServer] is where a customer signs
// in, for a test that walks through the provider's single sign-on, or for a
// person. [WebhookReceiver] is where the provider's webhooks go.
//
// Signing shares no code with the verification in flyext: RFC 9421 is signed by
// github.com/common-fate/httpsig, the other formats by what is in this package.
// A mistake on one side is therefore not repeated on the other.
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

// A Platform plays Fly.io towards one provider: it signs requests and sends
// them. BaseURL and Signer are required; without them every method returns an
// error. It is safe for concurrent use as long as its fields are left alone and
// Observe is safe for it.
type Platform struct {
	// BaseURL is the provider's, such as "https://logjam.io/flyio": both where
	// requests are sent and what is signed.
	BaseURL string

	// Signer signs each request.
	Signer Signer

	// Client sends the requests; nil means [http.DefaultClient], which waits as
	// long as the context of a call does. Redirects are not followed: they are
	// answers like any other, because a signature is for one URL.
	Client *http.Client

	// Now is the clock that requests are signed by; nil means [time.Now]. Set
	// it back or forth to make a stale request or one from the future.
	Now func() time.Time

	// Registration is what Fly.io has on record about the provider. It decides
	// what [Platform.Create] prints, and whether it waits.
	Registration Registration

	// Sleep waits between two polls, for as long as d or until ctx ends, whose
	// error it then returns; nil means to really wait. A test that replaces it
	// passes four minutes in no time.
	Sleep func(ctx context.Context, d time.Duration) error

	// Observe, if it is not nil, is shown every request that was answered,
	// with its answer, before the method that sent it returns.
	Observe func(Exchange)
}

// An Exchange is a request as it was sent and its answer. Both may hold
// secrets. The bodies in Request and Response have been read; they are here.
type Exchange struct {
	Request      *http.Request
	RequestBody  []byte
	Response     *http.Response
	ResponseBody []byte
	// SignatureBase is what the signature of Request was made of; see
	// [SignatureBase].
	SignatureBase string
	// Duration is how long the answer took, its body included.
	Duration time.Duration
}

// Provision asks for an extension: POST {base}/extensions. The returned
// extension has the ID that later calls take: the one that the provider
// answered with or, in generation 1, req.ID.
//
// Empty members of req are not sent, but ID, OrganizationID and Name always.
//
// The answer may have the shape of either generation: the flat object of
// secrets or the envelope, which is told by its member "id", "config" or
// "status". An answer of any other status than 2xx is returned as a
// *[flyext.Error]; one that flyctl could not use, such as a secret that is no
// JSON string, as an error that says so.
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
		return nil, errors.New(`flytest: the answer has no "config", and Fly.io does not ask for the secrets again`)
	}
	return x, nil
}

// Update changes an extension: PATCH {base}/extensions/{id}. Members of req
// that are absent are not sent; those that are null or empty are sent so. The
// answer is read as that of [Platform.Provision], and may come without secrets.
func (p *Platform) Update(ctx context.Context, id string, req flyext.UpdateRequest) (*flyext.Extension, error) {
	body, err := encodeUpdate(req)
	if err != nil {
		return nil, err
	}
	return p.callExtension(ctx, http.MethodPatch, id, body)
}

// Fetch asks what an extension is: GET {base}/extensions/{id}. The answer is
// read as that of [Platform.Provision], and may come without secrets.
func (p *Platform) Fetch(ctx context.Context, id string) (*flyext.Extension, error) {
	return p.callExtension(ctx, http.MethodGet, id, nil)
}

// Deprovision removes an extension: DELETE {base}/extensions/{id}. Any answer
// of status 2xx is a success, whatever its body.
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

// ExtensionPath returns the path of an extension below the base URL, for
// [Platform.NewRequest]: "/extensions/" and the id, escaped as one element.
func ExtensionPath(id string) string {
	escaped := url.PathEscape(id)
	if id == "." || id == ".." { // not to be taken for steps in the path
		escaped = strings.ReplaceAll(id, ".", "%2E")
	}
	return "/extensions/" + escaped
}

// NewRequest returns a signed request and does not send it, so that a test can
// spoil it first; see [SetBody]. path is relative to BaseURL, begins with a
// slash, is escaped, and may have a query. body may be nil.
func (p *Platform) NewRequest(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	base, err := p.base()
	if err != nil {
		return nil, err
	}
	if p.Signer == nil {
		return nil, errors.New("flytest: Platform.Signer is missing")
	}
	if !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("flytest: path %q does not begin with a slash", path)
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

// base returns the base URL in the form in which signatures cover it: the host
// in lower case and without the scheme's own port (RFC 9421, section 2.2.3).
func (p *Platform) base() (string, error) {
	u, err := url.Parse(p.BaseURL)
	if err != nil {
		return "", fmt.Errorf("flytest: Platform.BaseURL: %w", err)
	}
	if u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" {
		return "", fmt.Errorf("flytest: Platform.BaseURL %q is no http or https URL", p.BaseURL)
	}
	if u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return "", errors.New("flytest: Platform.BaseURL has a user, a query or a fragment")
	}
	port := ":443"
	if u.Scheme == "http" {
		port = ":80"
	}
	host := strings.TrimSuffix(strings.ToLower(u.Host), port)
	return u.Scheme + "://" + host + strings.TrimRight(u.EscapedPath(), "/"), nil
}

// Do sends a request as it is, without signing it. One request may be sent
// again and again, body included, which is what a replay is. The answer's body
// has been read already and need not be closed; an answer of any status is no
// error.
func (p *Platform) Do(r *http.Request) (*http.Response, error) {
	e, err := p.exchange(r)
	if err != nil {
		return nil, err
	}
	e.Response.Body = io.NopCloser(bytes.NewReader(e.ResponseBody))
	return e.Response, nil
}

// maxAnswer bounds what is read of an answer, in bytes.
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

// SetBody gives a request a body, of which GetBody makes copies. It does not
// sign: use it in a [Signer], or to spoil a request that is signed.
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

// bodyOf returns the body of a request, which stays readable.
func bodyOf(r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	if r.GetBody == nil {
		return nil, errors.New("flytest: the request has a body and no GetBody; use SetBody")
	}
	copied, err := r.GetBody()
	if err != nil {
		return nil, fmt.Errorf("flytest: the request's body: %w", err)
	}
	defer copied.Close()
	return io.ReadAll(copied)
}
